import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSigned, signatureMagic } from "../patch-module/module-signature.ts";
import { exists } from "../support/cache.ts";
import { environmentVariable } from "../support/environment.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";

/** Who signs modules. */
export interface ModuleSigner {
  /** PEM file, or a `pkcs11:` URI (RFC 7512). */
  readonly key: string;
  /** Certificate of the key, PEM or DER. */
  readonly certificate: string;
  /** Digest, `sha256` unless given; it has to be one that the kernel has built in. */
  readonly hash?: string | undefined;
}

/**
 * Appends a signature as the kernel's own scripts/sign-file does, byte for byte: a detached CMS message without attributes and certificates, then
 * `struct module_signature` (include/linux/module_signature.h: id type 2, length in big-endian order) and the magic text.
 * A key's passphrase is read from KBUILD_SIGN_PIN, as sign-file does.
 * @throws KmendError `ALREADY_SIGNED`, `SIGN_KEY` (exit 2), `PROGRAM_FAILED`
 */
export async function signModule(module: Uint8Array, signer: ModuleSigner, signal?: AbortSignal): Promise<Uint8Array> {
  if (isSigned(module)) {
    throw new KmendError({
      code: "ALREADY_SIGNED",
      message: "the module is signed already",
      why: "a second signature would cover the first, and the kernel reads the last one only",
      hint: "leave --sign-key out, or give the unsigned module",
    });
  }
  await requireFiles(signer);
  const folder = await mkdtemp(join(tmpdir(), "kmend-sign-"));
  try {
    const input = join(folder, "module");
    const output = join(folder, "signature");
    await writeFile(input, module);
    const words = ["cms", "-sign", "-binary", "-noattr", "-nocerts", "-md", signer.hash ?? "sha256", "-outform", "DER"];
    const pin = environmentVariable("KBUILD_SIGN_PIN") === undefined ? [] : ["-passin", "env:KBUILD_SIGN_PIN"];
    const key = await keyWords(signer.key, signal);
    await run("openssl", [...words, "-signer", signer.certificate, ...key, ...pin, "-in", input, "-out", output], {
      signal,
      timeout: 60_000,
    });
    const signature = await readFile(output);
    const trailer = Buffer.alloc(12);
    trailer[2] = 2;
    trailer.writeUInt32BE(signature.length, 8);
    return Buffer.concat([module, signature, trailer, signatureMagic]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function requireFiles({ key, certificate }: ModuleSigner): Promise<void> {
  for (const file of key.startsWith("pkcs11:") ? [certificate] : [key, certificate]) {
    if (await exists(file)) continue;
    throw new KmendError({
      code: "SIGN_KEY",
      message: `there is no file ${file}`,
      hint: "give --sign-key FILE (or a pkcs11: URI) and --sign-cert FILE",
      exitCode: ExitCode.usage,
    });
  }
}

/** OpenSSL reaches tokens through its pkcs11 provider, or the older engine of that name where there is none. */
async function keyWords(key: string, signal: AbortSignal | undefined): Promise<string[]> {
  if (!key.startsWith("pkcs11:")) return ["-inkey", key];
  const asked = await run("openssl", ["list", "-providers", "-provider", "pkcs11"], { allowFailure: true, signal });
  return asked.exitCode === 0
    ? ["-provider", "default", "-provider", "pkcs11", "-inkey", key]
    : ["-engine", "pkcs11", "-keyform", "engine", "-inkey", key];
}
