import type { Atom, Reference, TableEntry } from "../../diff/atoms.ts";
import { type AuthorMarks, callbackKinds } from "../../diff/author-marks.ts";
import { isExport } from "../../diff/exports.ts";
import { isRewritten, rewritten } from "../../diff/rewrites.ts";
import type { Selection } from "../../diff/select.ts";
import { isLeftOut } from "../../diff/special-sections/special-sections.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import {
  type DraftSection,
  type DraftSymbol,
  draftSection,
  draftSymbol,
  emptyDraft,
  type ObjectDraft,
} from "../../elf/builder.ts";
import { Binding, SectionFlag, SectionType, SymbolType } from "../../elf/constants.ts";
import { Padding } from "../../elf/padding.ts";
import { writeObject } from "../../elf/writer.ts";
import type { KlpSymbol, Reach } from "../resolve/resolve.ts";
import { homeOf } from "./home-section.ts";
import { withoutResolvedBranches } from "./resolved-branches.ts";
import { type CodeOrder, type ModuleJumps, stackCheckOrder } from "./stack-check-order.ts";
import { callbackTableName, functionTableName } from "./table-names.ts";

/** A function of the patch module that replaces one of the kernel. */
export interface Redirection {
  /** In the patched unit. */
  readonly atom: Atom;
  /** As the kernel knows it. */
  readonly oldName: string;
  readonly sympos: number;
  /** Place of the old function in the target, and its bytes there, as they were matched. */
  readonly address: number;
  readonly size: number;
}

/** A livepatch relocation whose place is known only after the link: the nth entry of {@link placesSection}. */
export interface KlpRelocation {
  /** The object that is patched: its load decides when the relocation is written. */
  readonly patchedObject: string;
  readonly symbol: KlpSymbol;
  readonly type: number;
  readonly addend: number;
  readonly symbolType: number;
  /** Section of the extract that holds the place, and the place's offset in it. */
  readonly section: string;
  readonly offset: number;
}

/** A relocatable object with what the patch module takes from one unit. */
export interface Extract {
  readonly object: Uint8Array;
  readonly klpRelocations: readonly KlpRelocation[];
  /** Names that only the link needs, see `CodeOrder.nameless` of stack-check-order.ts. */
  readonly linkNames: readonly string[];
  /** Bytes that each special table keeps, by section name. */
  readonly tableBytes: Readonly<Record<string, number>>;
}

/** Section that lists the addresses of livepatch relocations, 8 bytes each; it is gone from the finished module. */
export const placesSection = ".kmend.places";

/** What the extract needs to know from outside of the unit. */
export interface ExtractInput {
  readonly unit: UnitObject;
  readonly selection: Selection;
  readonly redirections: readonly Redirection[];
  readonly callbacks: AuthorMarks["callbacks"];
  /** `vmlinux` or the module's name. */
  readonly object: string;
  /** Number of the unit in this patch; makes the name of its function table unique. */
  readonly number: number;
  /** Jumps of all units of the patch module; without them, of this one. */
  readonly jumps?: ModuleJumps | undefined;
  readonly reachOriginal: (atom: Atom) => Reach;
  readonly reachExternal: (name: string, weak: boolean) => Reach;
}

/** Writes the extract of one unit. All references must be resolvable: refusals come before this. */
export function extractUnit(input: ExtractInput): Extract {
  return new Extractor(input).run();
}

class Extractor {
  readonly #input: ExtractInput;
  readonly #draft: ObjectDraft;
  readonly #contents = new Map<DraftSection, Uint8Array[]>();
  readonly #sizes = new Map<DraftSection, number>();
  readonly #sectionSymbols = new Map<DraftSection, DraftSymbol>();
  readonly #relas = new Map<DraftSection, DraftSection>();
  readonly #placed = new Map<Atom | TableEntry, { section: DraftSection; offset: number }>();
  readonly #outside = new Map<string, DraftSymbol>();
  readonly #named = new Map<Atom, DraftSymbol>();
  readonly #redirected: ReadonlySet<Atom>;
  readonly #klp: KlpRelocation[] = [];
  readonly #linkNames: string[] = [];
  readonly #tableBytes: Record<string, number> = {};
  readonly #padding = new Padding();
  readonly #order: CodeOrder;

  constructor(input: ExtractInput) {
    this.#input = input;
    this.#redirected = new Set(input.redirections.map(({ atom }) => atom));
    this.#order = stackCheckOrder(input.unit, input.selection, this.#redirected, input.jumps);
    this.#draft = emptyDraft(input.unit.elf);
  }

  run(): Extract {
    const { selection } = this.#input;
    for (const atom of this.#order.atoms) this.#place(atom);
    for (const [name, entries] of selection.entries) if (!isLeftOut(name)) this.#table(name, entries);
    for (const atom of selection.atoms) {
      const { section, offset } = this.#placed.get(atom) as { section: DraftSection; offset: number };
      const rewrites = selection.rewrites.get(atom) ?? [];
      const kept = atom.references.filter((reference) => !isRewritten(reference, rewrites));
      for (const reference of kept) this.#relocate(section, offset, atom, reference);
      for (const { reference } of rewrites) this.#relocate(section, offset, atom, reference);
    }
    this.#functionTable();
    for (const [section, parts] of this.#contents) section.data = Buffer.concat(parts);
    return {
      object: writeObject(this.#draft),
      klpRelocations: this.#klp,
      linkNames: this.#linkNames,
      tableBytes: this.#tableBytes,
    };
  }

  #section(name: string, type: number, flags: number, alignment: number): DraftSection {
    let section = this.#draft.sections.find((candidate) => candidate.name === name && candidate.type === type);
    if (section === undefined) {
      section = draftSection({ name, type, flags, alignment: 1 });
      this.#draft.sections.push(section);
      this.#contents.set(section, []);
      this.#sizes.set(section, 0);
      const symbol = draftSymbol({ name: "", section, type: SymbolType.section });
      this.#sectionSymbols.set(section, symbol);
      this.#draft.symbols.push(symbol);
    }
    section.alignment = Math.max(section.alignment, alignment, 1);
    return section;
  }

  /** Appends bytes at an offset that is congruent to `phase` modulo `alignment`; returns the offset. */
  #append(section: DraftSection, bytes: Uint8Array, size: number, alignment: number, phase: number): number {
    const isCode = (section.flags & SectionFlag.execinstr) !== 0;
    const start = this.#sizes.get(section) as number;
    const gap = this.#padding.before(start, alignment, phase);
    const at = start + gap;
    this.#sizes.set(section, at + size);
    if (section.type === SectionType.nobits) section.memorySize = at + size;
    else
      this.#contents.get(section)?.push(new Uint8Array(gap).fill(isCode ? this.#input.unit.arch.codeFill : 0), bytes);
    return at;
  }

  #place(atom: Atom): void {
    const { name, type, flags } = homeOf(atom, this.#input.unit.arch.poolEntrySize(atom.section.name) !== undefined);
    const alignment = Math.max(1, atom.section.alignment);
    const section = this.#section(name, type, flags, alignment);
    const { unit, selection } = this.#input;
    const bytes = rewritten(withoutResolvedBranches(atom, unit), selection.rewrites.get(atom) ?? []);
    const offset = this.#append(section, bytes, atom.end - atom.start, alignment, atom.start);
    this.#placed.set(atom, { section, offset });
    this.#mappingSymbols(atom, section, offset);
    const nameless = this.#order.nameless.has(atom);
    for (const symbol of atom.symbols) {
      const isNew = symbol.binding !== Binding.local && !this.#redirected.has(atom);
      // Other units and exports find a new function by its name.
      if (nameless && isNew) this.#linkNames.push(symbol.name);
      if (nameless && !isNew) continue;
      const drafted = draftSymbol({
        name: symbol.name,
        section,
        value: offset + symbol.value - atom.start,
        size: symbol.size,
        type: symbol.type,
        binding: isNew ? symbol.binding : Binding.local,
        other: symbol.other,
      });
      this.#draft.symbols.push(drafted);
      if (symbol === atom.symbol) this.#named.set(atom, drafted);
    }
  }

  /** `$x` and `$d` of AArch64: linkers that work around processor errata look only at what these mark as code. */
  #mappingSymbols(atom: Atom, section: DraftSection, offset: number): void {
    const marks = this.#input.unit.mappingSymbols.get(atom.section.index);
    if (marks === undefined || atom.kind === "bss") return;
    const first = marks.findLast(({ value }) => value <= atom.start);
    const inside = marks.filter(({ value }) => value > atom.start && value < atom.end);
    for (const { name, value } of first === undefined ? inside : [first, ...inside]) {
      const place = offset + Math.max(value, atom.start) - atom.start;
      this.#draft.symbols.push(draftSymbol({ name, section, value: place }));
    }
  }

  #relocate(section: DraftSection, base: number, from: Atom | TableEntry, reference: Reference): void {
    const { unit, selection } = this.#input;
    const [offset, type] = [base + reference.offset, reference.type];
    const { addend } = reference.target;
    const route = selection.route(from, reference);
    switch (route.to) {
      case "absolute":
        this.#rela(section, { offset, type, symbol: draftSymbol({ name: "", section: 0 }), addend });
        return;
      case "inside": {
        // modpost wants to see which global symbol is exported, and a linker adds the local entry only to the symbol that has one.
        const localEntry = unit.arch.localEntry(route.atom.symbol?.other ?? 0);
        const isNamed = ("name" in from && isExport(from)) || (localEntry !== 0 && route.atom.kind === "function");
        const named = isNamed ? this.#named.get(route.atom) : undefined;
        if (named !== undefined) {
          const entry = (route.atom.symbol?.value ?? route.atom.start) - route.atom.start;
          const past = reference.implicit && addend - entry === localEntry ? localEntry : 0;
          this.#rela(section, { offset, type, symbol: named, addend: addend - entry - past });
          return;
        }
        const home = this.#placed.get(route.atom);
        if (home === undefined) throw new Error(`${route.atom.name} is referred to but not carried`);
        if (reference.implicit && unit.arch.isShort(type))
          throw new Error(`short branch to ${route.atom.name} cannot be carried`);
        this.#rela(section, {
          offset,
          type,
          symbol: this.#sectionSymbols.get(home.section) as DraftSymbol,
          addend: home.offset + addend,
        });
        return;
      }
      case "entry": {
        const home = this.#placed.get(route.entry) as Pointer;
        const symbol = this.#sectionSymbols.get(home.section) as DraftSymbol;
        this.#rela(section, { offset, type, symbol, addend: home.offset + addend });
        return;
      }
      case "original": {
        const entry = route.atom.symbol === undefined ? 0 : route.atom.symbol.value - route.atom.start;
        const symbolType = route.atom.symbol?.type ?? SymbolType.notype;
        this.#reach(section, offset, type, addend - entry, this.#input.reachOriginal(route.atom), symbolType);
        return;
      }
      case "external": {
        const reach = this.#input.reachExternal(route.name, route.weak);
        this.#reach(section, offset, type, addend, reach, SymbolType.notype);
      }
    }
  }

  #reach(section: DraftSection, offset: number, type: number, addend: number, reach: Reach, symbolType: number): void {
    if (reach.by === "nothing") throw new Error(`${reach.problem.name} was not resolved`);
    if (reach.by === "loader") {
      this.#rela(section, { offset, type, symbol: this.#undefinedSymbol(reach.name), addend });
      return;
    }
    const places = this.#section(placesSection, SectionType.progbits, SectionFlag.alloc, 8);
    const at = this.#append(places, new Uint8Array(8), 8, 8, 0);
    this.#rela(places, {
      offset: at,
      type: this.#input.unit.arch.pointerType,
      symbol: this.#sectionSymbols.get(section) as DraftSymbol,
      addend: offset,
    });
    this.#klp.push({
      section: section.name,
      offset,
      patchedObject: this.#input.object,
      symbol: reach.symbol,
      type,
      addend: addend + reach.symbol.offset,
      symbolType,
    });
  }

  #undefinedSymbol(name: string): DraftSymbol {
    let symbol = this.#outside.get(name);
    if (symbol === undefined) {
      symbol = draftSymbol({ name, section: 0, binding: Binding.global });
      this.#outside.set(name, symbol);
      this.#draft.symbols.push(symbol);
    }
    return symbol;
  }

  #rela(section: DraftSection, relocation: DraftSection["relocations"][number]): void {
    let rela = this.#relas.get(section);
    if (rela === undefined) {
      rela = draftSection({
        name: `.rela${section.name}`,
        type: SectionType.rela,
        flags: SectionFlag.infoLink,
        alignment: 8,
        entrySize: 24,
        link: this.#draft.symbolTable,
        info: section,
      });
      this.#relas.set(section, rela);
      this.#draft.sections.push(rela);
    }
    rela.relocations.push(relocation);
  }

  #table(name: string, entries: readonly TableEntry[]): void {
    const table = this.#input.unit.tables.get(name);
    if (table === undefined) return;
    const { section: like } = table;
    // The order of a linked section means nothing once all code is in .text.
    const flags = like.flags & ~(SectionFlag.linkOrder | SectionFlag.group);
    const section = this.#section(name, SectionType.progbits, flags, like.alignment);
    section.entrySize = like.entrySize;
    for (const entry of entries) {
      const offset = this.#append(section, entry.bytes, entry.bytes.length, 1, 0);
      this.#placed.set(entry, { section, offset });
      for (const reference of entry.references) this.#relocate(section, offset, entry, reference);
      if (entry.partner !== undefined) {
        const unwind = this.#input.unit.elf.section(".orc_unwind");
        const partner = this.#section(
          ".orc_unwind",
          SectionType.progbits,
          unwind?.flags ?? SectionFlag.alloc,
          unwind?.alignment ?? 1,
        );
        this.#append(partner, entry.partner, entry.partner.length, 1, 0);
      }
    }
    this.#tableBytes[name] = this.#sizes.get(section) as number;
  }

  /** The tables that the glue reads: redirected functions and callbacks of this unit. */
  #functionTable(): void {
    const { redirections, callbacks, object, number } = this.#input;
    const strings = this.#section(".rodata.kmend.str", SectionType.progbits, SectionFlag.alloc, 1);
    const text = (value: string): number => {
      const bytes = Buffer.from(`${value}\0`);
      return this.#append(strings, bytes, bytes.length, 1, 0);
    };
    const objectName = object === "vmlinux" ? undefined : text(object);
    const toText = (offset: number | undefined): Pointer | undefined =>
      offset === undefined ? undefined : { section: strings, offset };
    // struct kmend_func { const char *object; const char *old_name; void *new_func; unsigned long sympos; }
    const functions = redirections.map(({ atom, oldName, sympos }) => [
      toText(objectName),
      toText(text(oldName)),
      this.#entryOf(atom),
      sympos,
    ]);
    // struct kmend_callback { const char *object; void *func; unsigned long kind; }
    const calls = callbacks.map((callback) => [
      toText(objectName),
      this.#entryOf(callback.function),
      callbackKinds.indexOf(callback.kind),
    ]);
    this.#pointerTable(functionTableName(number), functions);
    this.#pointerTable(callbackTableName(number), calls);
  }

  #entryOf(atom: Atom): Pointer {
    const home = this.#placed.get(atom) as Pointer;
    return { section: home.section, offset: home.offset + (atom.symbol?.value ?? atom.start) - atom.start };
  }

  /** Writes rows of 8-byte fields under a global name; a field is a number, a pointer, or undefined for NULL. */
  #pointerTable(name: string, rows: readonly (readonly (Pointer | number | undefined)[])[]): void {
    const table = this.#section(".data.kmend", SectionType.progbits, SectionFlag.alloc | SectionFlag.write, 8);
    const start = this.#append(table, new Uint8Array(0), 0, 8, 0);
    for (const fields of rows) {
      const bytes = new Uint8Array(fields.length * 8);
      const view = new DataView(bytes.buffer);
      const at = this.#append(table, bytes, bytes.length, 8, 0);
      fields.forEach((field, index) => {
        if (typeof field === "number")
          view.setUint32(index * 8 + (this.#draft.littleEndian ? 0 : 4), field, this.#draft.littleEndian);
        else if (field !== undefined) {
          const symbol = this.#sectionSymbols.get(field.section) as DraftSymbol;
          const type = this.#input.unit.arch.pointerType;
          this.#rela(table, { offset: at + index * 8, type, symbol, addend: field.offset });
        }
      });
    }
    const size = (this.#sizes.get(table) as number) - start;
    this.#draft.symbols.push(
      draftSymbol({ name, section: table, value: start, size, type: SymbolType.object, binding: Binding.global }),
    );
  }
}

/** A place in a section of the extract. */
interface Pointer {
  readonly section: DraftSection;
  readonly offset: number;
}
