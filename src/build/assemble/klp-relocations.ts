import { type DraftSection, type DraftSymbol, draftOf, draftSection, draftSymbol } from "../../elf/builder.ts";
import { Binding, SectionFlag, SectionType, SpecialSection, SymbolType } from "../../elf/constants.ts";
import { ElfReader } from "../../elf/reader.ts";
import { writeObject } from "../../elf/writer.ts";
import { type KlpRelocation, placesSection } from "./extract.ts";

/** Sections of the linked module that the running kernel has no use for. */
const dropped =
  /^(\.kmend\.places|\.rela\.kmend\.places|\.rela\.debug_.*|\.debug_.*|\.comment|\.note\.GNU-stack|\.BTF.*)$/;

/**
 * Adds livepatch relocations to a linked module (Documentation/livepatch/module-elf-format.rst): one SHT_RELA section
 * `.klp.rela.<object>.<section>` for each patched object and section, and symbols `.klp.sym.<object>.<name>,<sympos>` in section 0xff20.
 * Symbols of vmlinux go into `.klp.rela.vmlinux.*` whatever is patched: the kernel refuses them elsewhere, and writes them early.
 * @param relocations in the order in which their places were linked.
 * @param linkNames of functions whose names nobody needs after the link; their symbols become local ones without a name.
 */
export function addKlpRelocations(
  linked: Uint8Array,
  relocations: readonly KlpRelocation[],
  linkNames: readonly string[] = [],
): Uint8Array {
  const elf = new ElfReader(linked);
  const draft = draftOf(elf);
  const hidden = new Set(linkNames);
  for (const symbol of draft.symbols) {
    if (symbol.binding === Binding.local || !hidden.has(symbol.name)) continue;
    symbol.name = "";
    symbol.nameOffset = undefined;
    symbol.binding = Binding.local;
  }
  const places = readPlaces(elf, relocations.length);
  const symbols = new Map<string, DraftSymbol>();
  const relas = new Map<string, DraftSection>();
  relocations.forEach((relocation, at) => {
    const { section: sectionIndex, offset } = places[at] as { section: number; offset: number };
    const section = draft.sections[sectionIndex - 1] as DraftSection;
    const { symbol, patchedObject } = relocation;
    const name = `.klp.sym.${symbol.object}.${symbol.name},${symbol.sympos}`;
    let klpSymbol = symbols.get(name);
    if (klpSymbol === undefined) {
      klpSymbol = draftSymbol({
        name,
        section: SpecialSection.livepatch,
        binding: Binding.global,
        type: relocation.symbolType === SymbolType.section ? SymbolType.notype : relocation.symbolType,
      });
      symbols.set(name, klpSymbol);
      draft.symbols.push(klpSymbol);
    }
    const holder = symbol.object === "vmlinux" ? "vmlinux" : patchedObject;
    const relaName = `.klp.rela.${holder}.${section.name}`;
    let rela = relas.get(relaName);
    if (rela === undefined) {
      rela = draftSection({
        name: relaName,
        type: SectionType.rela,
        flags: SectionFlag.alloc | SectionFlag.infoLink | SectionFlag.relaLivepatch,
        alignment: 8,
        entrySize: 24,
        link: draft.symbolTable,
        info: section,
      });
      relas.set(relaName, rela);
      draft.sections.push(rela);
    }
    rela.relocations.push({ offset, type: relocation.type, symbol: klpSymbol, addend: relocation.addend });
  });
  const gone = new Set(draft.sections.filter((section) => dropped.test(section.name)));
  draft.sections = draft.sections.filter((section) => !gone.has(section));
  draft.symbols = draft.symbols.filter((symbol) => typeof symbol.section === "number" || !gone.has(symbol.section));
  return writeObject(draft);
}

/** Section and offset of each place, from the relocations that carried them through the linker. */
function readPlaces(elf: ElfReader, count: number): { section: number; offset: number }[] {
  if (count === 0) return [];
  const section = elf.section(placesSection);
  const entries =
    section === undefined ? [] : [...elf.relocationsFor(section.index)].sort((a, b) => a.offset - b.offset);
  if (entries.length !== count)
    throw new Error(`the linked module has ${entries.length} places for ${count} livepatch relocations`);
  return entries.map(({ symbol, addend }) => {
    const home = elf.symbols[symbol];
    if (home === undefined || home.section <= 0) throw new Error("a livepatch relocation lost its section in the link");
    return { section: home.section, offset: home.value + addend };
  });
}
