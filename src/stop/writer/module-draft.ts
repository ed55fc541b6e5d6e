import {
  type DraftSection,
  type DraftSymbol,
  draftSection,
  draftSymbol,
  emptyDraft,
  type ObjectDraft,
} from "../../elf/builder.ts";
import { Binding, RelocationX86, SectionFlag, SectionType, SpecialSection, SymbolType } from "../../elf/constants.ts";
import { versionEntrySize } from "../../elf/symbol-versions.ts";
import type { CodeSection, Target } from "./machine-code.ts";
import type { Pointer } from "./parts.ts";
import type { ShippedFacts } from "./shipped-facts.ts";

const { alloc, write, execinstr, infoLink, relaLivepatch } = SectionFlag;

/** The object file of a stop module while its parts are added. */
export class ModuleDraft {
  readonly #facts: ShippedFacts;
  readonly #draft: ObjectDraft;
  readonly #sections = new Map<string, DraftSection>();
  readonly #sectionSymbols = new Map<DraftSection, DraftSymbol>();
  readonly #kernelSymbols = new Map<string, DraftSymbol>();
  readonly #relas = new Map<string, DraftSection>();
  readonly #code: { readonly section: DraftSection; readonly code: CodeSection }[] = [];
  readonly #functions: DraftSymbol[] = [];
  readonly #thisModule: DraftSymbol;

  constructor(facts: ShippedFacts) {
    this.#facts = facts;
    this.#draft = emptyDraft(facts.elf);
    this.#thisModule = this.#symbol({ name: "__this_module", section: 0, type: SymbolType.object });
  }

  addSection(section: DraftSection): DraftSection {
    this.#sections.set(section.name, section);
    return section;
  }

  /** A section of code with its functions as symbols: `init_module` and `cleanup_module` are global, as the compiler makes them. */
  addCode(name: string, code: CodeSection): void {
    const section = this.#progbits(name, alloc | execinstr, 16, code.bytes);
    this.#code.push({ section, code });
    for (const { name: function_, offset, size } of code.functions) {
      const binding = name === ".text" ? Binding.local : Binding.global;
      const fields = { name: function_, section, value: offset, size, binding, type: SymbolType.func };
      const symbol = draftSymbol(fields);
      this.#draft.symbols.push(symbol);
      if (name === ".text") this.#functions.push(symbol);
    }
    for (const { name: function_, offset, size } of code.preambles) {
      const fields = { section, value: offset, size, binding: Binding.global, type: SymbolType.func };
      this.#draft.symbols.push(draftSymbol({ name: `__cfi_${function_}`, ...fields }));
    }
  }

  /** The tables about code: what ftrace, the mitigations and the unwinder look for. */
  addTables(): void {
    const style = this.#facts.code;
    const places = (of: (code: CodeSection) => readonly number[]): [DraftSection, number][] =>
      this.#code.flatMap(({ section, code }) => of(code).map((offset): [DraftSection, number] => [section, offset]));
    this.#table(
      "__mcount_loc",
      8,
      RelocationX86.abs64,
      places(({ traced }) => traced),
    );
    if (style.returnThunk)
      this.#table(
        ".return_sites",
        4,
        RelocationX86.pc32,
        places(({ returns }) => returns),
      );
    if (style.callSites) {
      const calls = this.#code.filter(({ section }) => section.name !== ".init.text");
      const listed = calls.flatMap(({ section, code }) =>
        [...code.calls, ...(style.tracing === "call" ? code.traced : [])]
          .sort((a, b) => a - b)
          .map((offset): [DraftSection, number] => [section, offset]),
      );
      this.#table(".call_sites", 4, RelocationX86.pc32, listed);
    }
    if (style.preambles?.listed === true)
      this.#table(
        ".cfi_sites",
        4,
        RelocationX86.pc32,
        places(({ preambles }) => preambles.map(({ offset }) => offset)),
      );
    this.#addUnwinding();
  }

  /** One entry for the start of each section of code, since nothing in it moves the stack pointer, and one of zeros that ends it. */
  #addUnwinding(): void {
    const { orc } = this.#facts;
    const ends = this.#code.flatMap(({ section, code }): [DraftSection, number][] => [
      [section, 0],
      [section, code.size],
    ]);
    const entries = Buffer.concat(this.#code.flatMap(() => [Buffer.from(orc.atEntry), Buffer.alloc(orc.size)]));
    this.#progbits(".orc_unwind", alloc, 1, entries);
    this.#table(".orc_unwind_ip", 4, RelocationX86.pc32, ends, 1);
    if (orc.header !== undefined)
      this.#progbits(".orc_header", alloc, orc.header.alignment, Uint8Array.from(orc.header.data));
  }

  addData(name: string, data: Uint8Array, pointers: readonly Pointer[], writable = false): void {
    const section = this.#progbits(name, writable ? alloc | write : alloc, 8, data);
    for (const { offset, target } of pointers) this.#point(section, offset, target);
  }

  /** `.modinfo`, the version of `struct module`, and the notes that each module of this kernel has. */
  addModuleInfo(texts: readonly string[]): void {
    this.#progbits(".modinfo", alloc, 1, Buffer.from(texts.map((text) => `${text}\0`).join(""), "latin1"));
    const { layoutVersion, notes } = this.#facts;
    if (layoutVersion !== undefined) {
      const data = Buffer.alloc(versionEntrySize);
      data.writeUInt32LE(layoutVersion, 0);
      data.write("module_layout", 8, "latin1");
      this.#progbits("__versions", alloc, 32, data);
    }
    for (const { name, type, flags, alignment, data } of notes)
      this.addSection(draftSection({ name, type, flags, alignment, data: Uint8Array.from(data) }));
  }

  addStructModule(data: Uint8Array): void {
    const { init, exit, size } = this.#facts.structModule;
    const section = this.#progbits(".gnu.linkonce.this_module", alloc | write, 64, data);
    this.#thisModule.section = section;
    this.#thisModule.size = size;
    const named = (name: string): DraftSymbol =>
      this.#draft.symbols.find((symbol) => symbol.name === name) as DraftSymbol;
    const rela = this.#relaOf(section);
    rela.relocations.push({ offset: init, type: RelocationX86.abs64, symbol: named("init_module"), addend: 0 });
    rela.relocations.push({ offset: exit, type: RelocationX86.abs64, symbol: named("cleanup_module"), addend: 0 });
  }

  /** Names the list of patched objects, so that what the module puts in force can be read from its file. */
  addObjectTable({ offset, size }: { readonly offset: number; readonly size: number }): void {
    const section = this.#sections.get(".data") as DraftSection;
    this.#draft.symbols.push(
      draftSymbol({ name: "kmend_stop_objects", section, value: offset, size, type: SymbolType.object }),
    );
  }

  /** Names of the kernel's symbols that the module reaches, in alphabetical order. */
  kernelSymbols(): string[] {
    return [...this.#kernelSymbols.keys()].sort();
  }

  /** A build id note (NT_GNU_BUILD_ID) with room for 20 bytes behind its head of 16. */
  addBuildId(): DraftSection {
    const data = Buffer.alloc(36);
    for (const [at, value] of [4, 20, 3].entries()) data.writeUInt32LE(value, at * 4);
    data.write("GNU\0", 12, "latin1");
    const note = { name: ".note.gnu.build-id", type: SectionType.note, flags: alloc, alignment: 4 };
    return this.addSection(draftSection({ ...note, data }));
  }

  /** Fills the places of the code, once the sections are there that they refer to. */
  fillCode(): void {
    for (const { section, code } of this.#code) {
      for (const { offset, type, target, addend } of code.references)
        this.#relocate(section, offset, type, target, addend);
    }
  }

  /** Puts everything together. */
  finish(): ObjectDraft {
    const { symbolTable, stringTable, nameTable } = this.#draft;
    this.#draft.sections = [
      ...this.#sections.values(),
      ...this.#relas.values(),
      ...[symbolTable, stringTable, nameTable],
    ];
    this.#draft.symbols = [...this.#sectionSymbols.values(), ...this.#draft.symbols, ...this.#kernelSymbols.values()];
    return this.#draft;
  }

  #progbits(name: string, flags: number, alignment: number, data: Uint8Array): DraftSection {
    return this.addSection(draftSection({ name, type: SectionType.progbits, flags, alignment, data }));
  }

  #symbol(fields: Parameters<typeof draftSymbol>[0]): DraftSymbol {
    const symbol = draftSymbol({ binding: Binding.global, ...fields });
    this.#draft.symbols.push(symbol);
    return symbol;
  }

  #sectionSymbol(section: DraftSection): DraftSymbol {
    let symbol = this.#sectionSymbols.get(section);
    if (symbol === undefined) {
      symbol = draftSymbol({ name: "", section, type: SymbolType.section });
      this.#sectionSymbols.set(section, symbol);
    }
    return symbol;
  }

  /** A table with a place of code in each entry; none without places. */
  #table(
    name: string,
    width: number,
    type: number,
    places: readonly (readonly [section: DraftSection, offset: number])[],
    alignment = width === 8 ? 8 : 1,
  ): void {
    if (places.length === 0) return;
    const section = this.#progbits(name, alloc, alignment, new Uint8Array(places.length * width));
    const rela = this.#relaOf(section);
    places.forEach(([home, addend], at) => {
      rela.relocations.push({ offset: at * width, type, symbol: this.#sectionSymbol(home), addend });
    });
  }

  #point(section: DraftSection, offset: number, target: Pointer["target"]): void {
    if ("own" in target || "function" in target) {
      const symbol = "own" in target ? this.#thisModule : (this.#functions[target.index] as DraftSymbol);
      this.#relaOf(section).relocations.push({ offset, type: RelocationX86.abs64, symbol, addend: 0 });
    } else this.#relocate(section, offset, RelocationX86.abs64, target, 0);
  }

  #relocate(section: DraftSection, offset: number, type: number, target: Target, addend: number): void {
    if ("kernel" in target) {
      const symbol = this.#kernelSymbol(target.kernel);
      this.#relaOf(section, true).relocations.push({ offset, type, symbol, addend });
      return;
    }
    const home = this.#sections.get(`.${target.part}`);
    if (home === undefined) throw new Error(`the module has no section .${target.part}`);
    const symbol = this.#sectionSymbol(home);
    this.#relaOf(section).relocations.push({ offset, type, symbol, addend: addend + target.offset });
  }

  /** The symbol of a livepatch relocation (Documentation/livepatch/module-elf-format.rst); its name is the only one of the kernel. */
  #kernelSymbol(name: string): DraftSymbol {
    let symbol = this.#kernelSymbols.get(name);
    if (symbol === undefined) {
      const section = SpecialSection.livepatch;
      symbol = draftSymbol({ name: `.klp.sym.vmlinux.${name},0`, section, binding: Binding.global });
      this.#kernelSymbols.set(name, symbol);
    }
    return symbol;
  }

  #relaOf(section: DraftSection, livepatch = false): DraftSection {
    const name = `${livepatch ? ".klp.rela.vmlinux." : ".rela"}${section.name}`;
    let rela = this.#relas.get(name);
    if (rela === undefined) {
      const flags = livepatch ? alloc | infoLink | relaLivepatch : infoLink;
      rela = draftSection({
        ...{ name, type: SectionType.rela, flags, alignment: 8, entrySize: 24 },
        ...{ link: this.#draft.symbolTable, info: section },
      });
      this.#relas.set(name, rela);
    }
    return rela;
  }
}
