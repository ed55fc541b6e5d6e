import type { ElfReader } from "../elf/reader.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { checkManifest } from "./manifest-schema.ts";

/** A function that the module replaces, with what its proof rests on. */
export interface ManifestFunction {
  readonly name: string;
  readonly object: string;
  readonly unit: string;
  readonly sympos: number;
  /** Where the target has it: an address of the kernel image as it is linked, or in a module section number × 2^36 + offset. */
  readonly address: string;
  readonly bytes: number;
  /** SHA-256 of these bytes of the target. */
  readonly sha256: string;
  /** SHA-256 of what relocations and tables of the target say about them (src/match/surroundings.ts); missing in modules of older versions. */
  readonly surroundings?: string | undefined;
  /** True when other functions of the module call its version directly, past what a later module puts in its place; missing in modules of older versions. */
  readonly calledDirectly?: boolean | undefined;
}

/** A symbol that the module reaches by livepatch relocation. */
export interface ManifestSymbol {
  readonly name: string;
  readonly object: string;
  readonly sympos: number;
  /** Missing for a symbol of another module than the patched one. */
  readonly address?: string | undefined;
}

/** A kernel module that is patched, as it was when the patch module was proven. */
export interface ManifestModule {
  readonly name: string;
  /** GNU build id in hexadecimal digits; missing when its file has none. */
  readonly buildId?: string | undefined;
  /** Digest of its sources by modpost (`srcversion` of .modinfo); missing when its file has none. */
  readonly srcversion?: string | undefined;
}

/** How the patches were rewritten so that they can be live. */
export interface ManifestAdaptation {
  /** Text of the adapted patch. */
  readonly patch: string;
  /** What it rests on, each with its place. */
  readonly assumptions: readonly string[];
}

/** What a patch module says about itself; it is in the module, so that a loaded or a stray one can be identified and proven again. */
export interface Manifest {
  readonly schema: 1;
  readonly kmend: string;
  /** SHA-256 of the module's file with zeros in the place of this text; missing in modules of older versions. */
  readonly seal?: string | undefined;
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly replace: boolean;
  /** Types whose change was accepted with --allow-layout. */
  readonly allowedLayouts: readonly string[];
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  /** Vulnerabilities that the patches fix, by their numbers; missing when nobody named any. */
  readonly cves?: readonly string[] | undefined;
  /** What was built in place of the patches, whose data could not be live; missing when that was not needed. */
  readonly adapted?: ManifestAdaptation | undefined;
  /** Patch modules that have to be in force before this one, oldest first. */
  readonly after?: readonly { readonly name: string; readonly sha256: string }[] | undefined;
  /** The module that is patched when it is not one of the kernel's own. */
  readonly external?: { readonly name: string; readonly sha256: string } | undefined;
  /** What tells the very builds of the modules that are patched. */
  readonly modules?: readonly ManifestModule[] | undefined;
  /** Why something may come by an address of the module's after its patch has been disabled; missing when nothing does. */
  readonly keptAddresses?: readonly string[] | undefined;
  /** The author's word that the module can be unloaded in spite of {@link keptAddresses}. */
  readonly removable?: true | undefined;
  readonly functions: readonly ManifestFunction[];
  readonly symbols: readonly ManifestSymbol[];
}

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
