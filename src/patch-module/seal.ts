import { ElfReader } from "../elf/reader.ts";
import { sha256 } from "../support/cache.ts";
import type { Manifest } from "./manifest.ts";
import { manifestSectionName, readManifest } from "./manifest-note.ts";
import { signatureMagic } from "./module-signature.ts";

/** What stands in the manifest for the digest of the module until the module is finished, and while its digest is taken. */
export const unsealed = "0".repeat(64);

/** Whether a module's file is as it was built; `unsealed` for one of a version of kmend that did not tell. */
export type Seal = "intact" | "altered" | "unsealed";

/**
 * Writes into the manifest of a finished module the SHA-256 of all of its bytes, {@link unsealed} in the place of the digest itself. It shows later that
 * the file is as it was built; against somebody who means harm only a signature helps.
 */
export function sealModule(module: Uint8Array): Uint8Array {
  const place = sealPlace(new ElfReader(module), unsealed);
  if (place === undefined) throw new Error("the module's manifest has no place for a digest");
  const sealed = Uint8Array.from(module);
  sealed.set(Buffer.from(sha256(module), "latin1"), place);
  return sealed;
}

/** Whether a module file, signed or not, is as it was built. @throws KmendError `MANIFEST_DAMAGED` */
export function sealOf(file: Uint8Array): Seal {
  const elf = new ElfReader(file);
  return sealOfModule(elf, readManifest(elf));
}

/** {@link sealOf} of a module that is read already, with its manifest. */
export function sealOfModule(elf: ElfReader, manifest: Pick<Manifest, "seal" | "kmend"> | undefined): Seal {
  const seal = manifest?.seal;
  // Whoever changes a module could cut the digest out.
  if (seal === undefined) return manifest !== undefined && writesSeal(manifest.kmend) ? "altered" : "unsealed";
  const place = sealPlace(elf, seal);
  const module = Uint8Array.from(withoutSignature(elf.file));
  if (place === undefined || place + unsealed.length > module.length) return "altered";
  module.set(Buffer.from(unsealed, "latin1"), place);
  return sha256(module) === seal ? "intact" : "altered";
}

/** Whether a version of kmend notes the digest of each module that it builds: all from 0.1 on do. */
function writesSeal(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 0 || minor >= 1;
}

/** Offset in the file of the digest's characters. */
function sealPlace(elf: ElfReader, seal: string): number | undefined {
  const section = elf.section(manifestSectionName);
  if (section === undefined) return undefined;
  const key = `"seal":"`;
  const at = Buffer.from(section.data).indexOf(`${key}${seal}"`);
  return at < 0 ? undefined : section.offset + at + key.length;
}

/** Bytes of `struct module_signature` (include/linux/module_signature.h); its last four are the length of the signature before it. */
const signatureInfoSize = 12;

/** A module without the signature that may be appended to it. */
function withoutSignature(file: Uint8Array): Uint8Array {
  const info = file.length - signatureMagic.length - signatureInfoSize;
  if (info < 0 || !signatureMagic.equals(file.subarray(info + signatureInfoSize))) return file;
  const length = new DataView(file.buffer, file.byteOffset + info, signatureInfoSize).getUint32(8, false);
  return file.subarray(0, Math.max(0, info - length));
}
