import type { SelfCheckExpectations } from "../../src/build/assemble/self-check.ts";
import {
  type DraftSection,
  type DraftSymbol,
  draftSection,
  draftSymbol,
  emptyDraft,
  type ObjectDraft,
} from "../../src/elf/builder.ts";
import {
  Binding,
  RelocationX86 as R,
  SectionFlag,
  SectionType,
  SpecialSection,
  SymbolType,
} from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { assemble } from "../fixtures/compile.ts";

const machine = new ElfReader(assemble("nop"));

/** A patch module in pieces, to be damaged before it is written. */
export interface FinishedModule {
  readonly draft: ObjectDraft;
  readonly info: Map<string, string>;
  readonly section: (name: string) => DraftSection;
  readonly text: DraftSection;
  readonly klp: DraftSection;
  readonly klpSymbol: DraftSymbol;
  /** Adds a section with content and, for `relocations`, a SHT_RELA section for it. */
  readonly add: (
    name: string,
    data: Uint8Array,
    flags?: number,
    relocations?: DraftSection["relocations"],
  ) => DraftSection;
}

export const expected: SelfCheckExpectations = {
  name: "livepatch-fix",
  release: "6.1.0-9-amd64",
  shipped: undefined,
  symvers: new Map([
    ["_printk", { name: "_printk", crc: 1, owner: "vmlinux", namespace: "", exportType: "EXPORT_SYMBOL" }],
    ["fuse_get", { name: "fuse_get", crc: 1, owner: "fuse", namespace: "", exportType: "EXPORT_SYMBOL_GPL" }],
  ]),
  redirections: 1,
};

/** A sound module with one function: a call by the loader at offset 6, one by a livepatch relocation at offset 11. */
export function finishedModule(): FinishedModule {
  const draft = emptyDraft(machine);
  const info = new Map([
    ["license", "GPL"],
    ["livepatch", "Y"],
    ["name", "livepatch_fix"],
    ["vermagic", "6.1.0-9-amd64 SMP preempt mod_unload modversions "],
    ["depends", ""],
  ]);
  const add: FinishedModule["add"] = (name, data, flags = SectionFlag.alloc, relocations) => {
    const section = draftSection({ name, type: SectionType.progbits, flags, alignment: 8, data });
    draft.sections.push(section);
    if (relocations !== undefined) {
      const rela = { type: SectionType.rela, flags: SectionFlag.infoLink, alignment: 8, entrySize: 24 };
      draft.sections.push(
        draftSection({ name: `.rela${name}`, ...rela, link: draft.symbolTable, info: section, relocations }),
      );
    }
    return section;
  };
  const external = (name: string): DraftSymbol => {
    const symbol = draftSymbol({ name, section: 0, binding: Binding.global });
    draft.symbols.push(symbol);
    return symbol;
  };
  const code = Uint8Array.from([0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3]);
  const text = add(".text", code, SectionFlag.alloc | SectionFlag.execinstr, [
    { offset: 6, type: R.plt32, symbol: external("_printk"), addend: -4 },
  ]);
  const start = draftSymbol({ name: "", section: text, type: SymbolType.section });
  draft.symbols.push(start);
  const klpSymbol = draftSymbol({
    name: ".klp.sym.vmlinux.hidden,2",
    section: SpecialSection.livepatch,
    binding: Binding.global,
  });
  draft.symbols.push(klpSymbol);
  const klp = draftSection({
    name: ".klp.rela.vmlinux..text",
    type: SectionType.rela,
    flags: SectionFlag.alloc | SectionFlag.infoLink | SectionFlag.relaLivepatch,
    alignment: 8,
    entrySize: 24,
    link: draft.symbolTable,
    info: text,
    relocations: [{ offset: 11, type: R.plt32, symbol: klpSymbol, addend: -4 }],
  });
  draft.sections.push(klp);
  add("__mcount_loc", new Uint8Array(8), SectionFlag.alloc, [{ offset: 0, type: R.abs64, symbol: start, addend: 0 }]);
  add(".orc_unwind_ip", new Uint8Array(4), SectionFlag.alloc, [{ offset: 0, type: R.pc32, symbol: start, addend: 0 }]);
  add(".orc_unwind", new Uint8Array(6));
  add(".gnu.linkonce.this_module", new Uint8Array(64), SectionFlag.alloc | SectionFlag.write);
  add(".modinfo", new Uint8Array(0));
  const section = (name: string): DraftSection => {
    const found = draft.sections.find((candidate) => candidate.name === name);
    if (found === undefined) throw new Error(`no section ${name}`);
    return found;
  };
  return { draft, info, section, text, klp, klpSymbol, add };
}

export function writeModule(module: FinishedModule): Uint8Array {
  const texts = [...module.info].map(([key, value]) => `${key}=${value}\0`).join("");
  for (const section of module.draft.sections) if (section.name === ".modinfo") section.data = Buffer.from(texts);
  return writeObject(module.draft);
}
