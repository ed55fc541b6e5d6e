import { ElfFormatError } from "../elf/format-error.ts";
import { type Manifest, readManifest } from "../elf/manifest-note.ts";
import { readModinfo } from "../elf/modinfo.ts";
import { isSigned } from "../elf/module-signature.ts";
import { notAPatchModule, readPatchModuleFile } from "../elf/patch-module-file.ts";
import { ElfReader } from "../elf/reader.ts";
import { sha256 } from "../support/cache.ts";

/** A patch module in a file. */
export interface PatchFile {
  readonly path: string;
  readonly content: Uint8Array;
  /** Name as the kernel counts it, with underscores. */
  readonly name: string;
  /** The whole version magic, whose first word is the release that it was made for. */
  readonly vermagic: string;
  /** Empty when the module does not say. */
  readonly release: string;
  readonly depends: readonly string[];
  readonly signed: boolean;
  readonly sha256: string;
  /** Its build id note as sysfs shows it while the module is loaded; undefined without one. */
  readonly buildIdNote: Uint8Array | undefined;
  /** Null for a module that kmend did not make. */
  readonly manifest: Manifest | null;
}

/**
 * Reads a patch module.
 * @throws KmendError `NOT_A_PATCH_MODULE` (exit 2) for a missing file, a damaged one, or a module that is no live patch.
 */
export async function readPatchFile(path: string): Promise<PatchFile> {
  return patchFile(path, await readPatchModuleFile(path));
}

/** {@link readPatchFile} of content that is at hand. */
export function patchFile(path: string, content: Uint8Array): PatchFile {
  try {
    const elf = new ElfReader(content);
    const info = readModinfo(elf);
    if (!info.has("livepatch")) throw notAPatchModule(path, "its .modinfo does not mark it as a live patch");
    const name = info.get("name")?.[0];
    if (name === undefined || !/^\w+$/.test(name)) throw notAPatchModule(path, "it has no name");
    const vermagic = info.get("vermagic")?.[0] ?? "";
    return {
      path,
      content,
      name,
      vermagic,
      release: vermagic.split(" ")[0] ?? "",
      depends: (info.get("depends") ?? []).flatMap((list) => list.split(",").filter(Boolean)),
      signed: isSigned(content),
      sha256: sha256(content),
      buildIdNote: elf.section(".note.gnu.build-id")?.data,
      manifest: readManifest(elf) ?? null,
    };
  } catch (error) {
    if (error instanceof ElfFormatError) throw notAPatchModule(path, `it is damaged or no module (${error.message})`);
    throw error;
  }
}
