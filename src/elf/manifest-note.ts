import type { ElfReader } from "./reader.ts";

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
  /** Patch modules that have to be in force before this one, oldest first. */
  readonly after?: readonly { readonly name: string; readonly sha256: string }[] | undefined;
  /** The module that is patched when it is not one of the kernel's own. */
  readonly external?: { readonly name: string; readonly sha256: string } | undefined;
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

/** Reads the manifest of a patch module, or undefined when it has none of kmend's. */
export function readManifest(elf: ElfReader): Manifest | undefined {
  const section = elf.section(manifestSectionName);
  return section === undefined ? undefined : parseManifestNote(section.data, elf.littleEndian);
}

/** Reads the manifest from the bytes of its ELF note; undefined when that is damaged or of another kind. */
export function parseManifestNote(note: Uint8Array, littleEndian: boolean): Manifest | undefined {
  if (note.length < 20) return undefined;
  const view = new DataView(note.buffer, note.byteOffset, note.byteLength);
  const nameSize = view.getUint32(0, littleEndian);
  const textSize = view.getUint32(4, littleEndian);
  const start = 12 + nameSize + ((4 - (nameSize % 4)) % 4);
  if (start + textSize > note.length) return undefined;
  try {
    const manifest = JSON.parse(Buffer.from(note.subarray(start, start + textSize)).toString("utf8")) as Manifest;
    return manifest.schema === 1 ? manifest : undefined;
  } catch {
    return undefined;
  }
}
