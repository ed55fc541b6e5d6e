import { ElfFormatError } from "../elf/format-error.ts";
import { ElfReader } from "../elf/reader.ts";
import { sha256 } from "../support/cache.ts";
import { sanitiseLine } from "../support/sanitise.ts";
import type { Manifest } from "./manifest.ts";
import { readModinfo } from "./modinfo.ts";
import { isSigned } from "./module-signature.ts";
import { notAPatchModule } from "./patch-module-file.ts";
import { checkedManifest } from "./patch-module-soundness.ts";
import type { Seal } from "./seal.ts";

/** A patch module that was read and checked: all that takes one begins with this. */
export interface PatchModule {
  readonly elf: ElfReader;
  readonly content: Uint8Array;
  /** The texts of its .modinfo. */
  readonly info: ReadonlyMap<string, readonly string[]>;
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
  /** Whether its file is known to be as it was built: `unsealed` for one that does not tell. */
  readonly seal: Exclude<Seal, "altered">;
}

/**
 * Reads a patch module and refuses one that is not as it was built: its digest, the functions that its tables put in force and its livepatch relocations
 * have to be those of its manifest. A module that another tool made has no manifest to be held against.
 * @param path for messages.
 * @throws KmendError `NOT_A_PATCH_MODULE` (exit 2), `MANIFEST_DAMAGED`, `MODULE_ALTERED` (exit 4)
 */
export function readPatchModule(path: string, content: Uint8Array): PatchModule {
  try {
    const elf = new ElfReader(content);
    const info = readModinfo(elf);
    if (!info.has("livepatch")) throw notAPatchModule(path, "its .modinfo does not mark it as a live patch");
    const name = info.get("name")?.[0];
    if (name === undefined || !/^\w+$/.test(name)) throw notAPatchModule(path, "it has no name");
    // It goes into messages, and a line of its own would be one of ours.
    const vermagic = sanitiseLine(info.get("vermagic")?.[0] ?? "");
    const { manifest, seal } = checkedManifest(path, elf, info);
    return {
      elf,
      content,
      info,
      name,
      vermagic,
      release: vermagic.split(" ")[0] ?? "",
      depends: (info.get("depends") ?? []).flatMap((list) => list.split(",").filter(Boolean)),
      signed: isSigned(content),
      sha256: sha256(content),
      buildIdNote: elf.section(".note.gnu.build-id")?.data,
      manifest,
      seal,
    };
  } catch (error) {
    if (error instanceof ElfFormatError) {
      throw notAPatchModule(path, `it is damaged or not a kernel module (${error.message})`, error);
    }
    throw error;
  }
}
