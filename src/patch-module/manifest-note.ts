import type { ElfReader } from "../elf/reader.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import type { Manifest } from "./manifest.ts";
import { checkManifest } from "./manifest-schema.ts";

/** True for a module that holds a reference on itself from when its patch is enabled: it stays in memory until the next boot. */
export function staysInMemory(manifest: Manifest | undefined): boolean {
  return (manifest?.keptAddresses?.length ?? 0) > 0 && manifest?.removable !== true;
}

/** Section of the note in the module's file, and its file in `/sys/module/<name>/notes/` while the module is loaded. */
export const manifestSectionName = ".note.kmend";

/** Owner of the note. */
export const manifestOwner = "kmend";

/**
 * Reads the manifest of a patch module; undefined when it has none.
 * @throws KmendError `MANIFEST_DAMAGED` (exit 4) when it has one that cannot be relied on.
 */
export function readManifest(elf: ElfReader): Manifest | undefined {
  const section = elf.section(manifestSectionName);
  return section === undefined ? undefined : parseManifestNote(section.data, elf.littleEndian);
}

/**
 * Reads the manifest from the bytes of its ELF note (gABI chapter 5, "Note Section"). That the note is there shows that kmend made the module, so one
 * that cannot be read is never taken for none.
 * @throws KmendError `MANIFEST_DAMAGED` (exit 4)
 */
export function parseManifestNote(note: Uint8Array, littleEndian: boolean): Manifest {
  if (note.length < 12) throw damagedManifest("its note is cut off");
  const view = new DataView(note.buffer, note.byteOffset, note.byteLength);
  const nameSize = view.getUint32(0, littleEndian);
  const textSize = view.getUint32(4, littleEndian);
  const start = 12 + nameSize + ((4 - (nameSize % 4)) % 4);
  if (start + textSize > note.length) throw damagedManifest("its note is cut off");
  const owner = Buffer.from(note.subarray(12, 12 + nameSize)).toString("latin1");
  if (owner !== `${manifestOwner}\0` || view.getUint32(8, littleEndian) !== 1) {
    throw damagedManifest("its note is of another owner or type");
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(note.subarray(start, start + textSize)).toString("utf8"));
  } catch (error) {
    throw damagedManifest("it is not JSON", error);
  }
  const manifest = checkManifest(value);
  if ("problem" in manifest) throw damagedManifest(manifest.problem);
  return manifest;
}

function damagedManifest(problem: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "MANIFEST_DAMAGED",
    message: `the manifest in the patch module is damaged, or of another version of kmend: ${problem}`,
    why: "it says which build of the kernel the module was proven for, and what it changes",
    hint: "fetch the module again, or build it again with kmend build",
    exitCode: ExitCode.refused,
    cause,
  });
}
