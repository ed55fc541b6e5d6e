import { gnuBuildId } from "../../elf/build-id.ts";
import { type DraftSection, type DraftSymbol, draftSection, draftSymbol, type ObjectDraft } from "../../elf/builder.ts";
import { formatAddress } from "../../elf/bytes.ts";
import { Binding, RelocationX86, SectionFlag, SectionType, SymbolType } from "../../elf/constants.ts";
import type { KernelImage } from "../../kernel/image/kernel-image.ts";
import type { ManifestSymbol } from "../../patch-module/manifest.ts";
import { type KlpRelocation, placesSection } from "./extract.ts";

/** Bounds of the running kernel's notes (NOTES of include/asm-generic/vmlinux.lds.h), which modules cannot link against. */
const bounds = ["__start_notes", "__stop_notes"] as const;

/** Room for a build id in `struct kmend_kernel` (glue.ts). */
const idRoom = 64;

/** How a patch module recognises the very kernel build that it was proven for, wherever and by whatever it is loaded. */
export interface KernelIdentity {
  /** Hexadecimal digits. */
  readonly buildId: string;
  readonly symbols: readonly ManifestSymbol[];
}

/**
 * The identity of a kernel, if a module can ask for it: the symbols are there once each, and what lies between them shows the build id. Undefined for an
 * image where that is not so; only those who load the module compare the build then.
 */
export function kernelIdentity(image: KernelImage): KernelIdentity | undefined {
  const { buildId, littleEndian } = image;
  const kallsyms = image.kallsyms();
  const found = bounds.map((name) => kallsyms.indicesOf(name));
  const [start, stop] = found.map((indices) => (indices.length === 1 ? kallsyms.addressOf(indices[0] as number) : 0));
  if (start === undefined || stop === undefined || start === 0 || stop <= start) return undefined;
  const notes = image.bytesAt(start, stop - start);
  if (notes === undefined || gnuBuildId(notes, littleEndian) !== buildId || buildId.length > 2 * idRoom)
    return undefined;
  const symbols = [start, stop].map((address, at) => ({
    name: bounds[at] as string,
    object: "vmlinux",
    sympos: 0,
    address: formatAddress(address),
  }));
  return { buildId, symbols };
}

/** Bytes of `struct kmend_kernel`: two pointers, a size and the digits' bytes. */
const structSize = 24 + idRoom;

/**
 * Adds `kmend_kernel` to the object with the glue's tables. Without an identity its size is 0, and the glue compares nothing.
 * @returns the livepatch relocations of its two pointers, which come last in the module.
 */
export function addKernelIdentity(draft: ObjectDraft, identity: KernelIdentity | undefined): readonly KlpRelocation[] {
  const data = new Uint8Array(structSize);
  const id = Buffer.from(identity?.buildId ?? "", "hex");
  new DataView(data.buffer).setUint32(draft.littleEndian ? 16 : 20, id.length, draft.littleEndian);
  data.set(id, 24);
  const flags = SectionFlag.alloc | SectionFlag.write;
  const section = draftSection({ name: ".data.kmend_kernel", type: SectionType.progbits, flags, alignment: 8, data });
  const own = draftSymbol({ name: "", section, type: SymbolType.section });
  // Local symbols come first.
  draft.symbols.unshift(own);
  const name = { name: "kmend_kernel", section, size: structSize, type: SymbolType.object, binding: Binding.global };
  draft.symbols.push(draftSymbol(name));
  draft.sections.push(section);
  if (identity === undefined) return [];
  addPlaces(draft, own);
  return bounds.map((bound, at) => ({
    patchedObject: "vmlinux",
    symbol: { name: bound, object: "vmlinux", sympos: 0, offset: 0 },
    ...{ type: RelocationX86.abs64, addend: 0, symbolType: SymbolType.notype, section: section.name, offset: at * 8 },
  }));
}

/** The places of the two pointers, as the extracts list theirs. */
function addPlaces(draft: ObjectDraft, home: DraftSymbol): void {
  const places = draftSection({
    ...{ name: placesSection, type: SectionType.progbits, flags: SectionFlag.alloc, alignment: 8 },
    data: new Uint8Array(16),
  });
  const relocations: DraftSection["relocations"] = bounds.map((_, at) => ({
    ...{ offset: at * 8, type: RelocationX86.abs64, symbol: home, addend: at * 8 },
  }));
  const rela = { type: SectionType.rela, flags: SectionFlag.infoLink, alignment: 8, entrySize: 24 };
  draft.sections.push(
    places,
    draftSection({ name: `.rela${placesSection}`, ...rela, link: draft.symbolTable, info: places, relocations }),
  );
}
