import type { Atom, Reference, TableEntry } from "../diff/atoms.ts";
import { tableRules } from "../diff/special-sections/special-sections.ts";
import { meaningfulEntries } from "../diff/special-sections/tables.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { Binding, SectionFlag, SectionType, SymbolType } from "../elf/constants.ts";
import type { Section } from "../elf/model.ts";
import type { ElfReader } from "../elf/reader.ts";
import { sha256 } from "../support/cache.ts";

/** A function, variable or constant that a module brings by name. */
export interface BroughtItem {
  readonly name: string;
  readonly what: "function" | "variable" | "constant";
  readonly atom: Atom;
  /** Equal for two whose content is the same, with what their relocations name. */
  readonly content: string;
  /** Of the code that kmend puts into every module (src/build/assemble/glue.ts). */
  readonly isOfGlue: boolean;
}

/** Sections in which a module describes itself and names the build of its kernel, which is compared as such. */
const describing = /^(\.modinfo|\.note\..*|\.gnu\.linkonce\.this_module|__versions|\.data\.kmend_kernel)$/;

/** True for a section in which a module only says what it is. */
export function isDescription(section: string): boolean {
  return describing.test(section);
}

/**
 * Tables and variables that the glue reads: what they say is compared as functions in force, callbacks and properties of the module. A patch may have functions
 * of its own whose names begin like these, so only data is meant.
 */
const ofGlue = /^(kmend_(funcs_\d+|callbacks_\d+|units|unit_count|replace|stays|kernel|stop_objects)|__this_module)$/;

/** Everything with a name in the loaded sections of a module, the tables of the glue left out. */
export function broughtItems(unit: UnitObject, reader: ContentReader): BroughtItem[] {
  const glue = glueSymbols(unit.elf);
  return unit.atoms.flatMap((atom): BroughtItem[] => {
    const { symbol, kind, section } = atom;
    const isLoaded = (section.flags & SectionFlag.alloc) !== 0;
    if (symbol === undefined || symbol.type === SymbolType.section || !isLoaded || isDescription(section.name))
      return [];
    const isCode = kind === "function" || kind === "code";
    if (!isCode && (ofGlue.test(atom.name) || addressable.test(atom.name))) return [];
    const isWritable = (section.flags & SectionFlag.write) !== 0;
    const what = isCode ? "function" : isWritable ? "variable" : "constant";
    return [{ name: atom.base, what, atom, content: reader.contentOf(atom), isOfGlue: glue.has(symbol.index) }];
  });
}

/** What module_init() and module_exit() keep of the glue. */
const addressable = /^__UNIQUE_ID___addressable_(init|cleanup)_module\d+$/;

/** Symbols of the glue: its entry and exit, and the local ones that follow the name of its file. */
function glueSymbols({ symbols }: ElfReader): Set<number> {
  const found = new Set<number>();
  let file = "";
  for (const { index, name, type, binding } of symbols) {
    if (type === SymbolType.file) file = name;
    else if (binding === Binding.local && file === "kmend-glue.c") found.add(index);
    else if (/^(init|cleanup)_module$/.test(name)) found.add(index);
  }
  return found;
}

/** What an atom of a module holds, with the meaning of its relocations, as something that can be compared. */
export class ContentReader {
  readonly #known = new Map<Atom, string>();
  readonly #named = new Map<string, number>();
  readonly #unit: UnitObject;

  constructor(unit: UnitObject) {
    this.#unit = unit;
    for (const { base, symbol } of unit.atoms)
      if (symbol !== undefined) this.#named.set(base, (this.#named.get(base) ?? 0) + 1);
  }

  /** The bytes of an atom, what it refers to, and what the entries of special tables about it say. */
  contentOf(atom: Atom): string {
    const known = this.#known.get(atom);
    if (known !== undefined) return known;
    // A piece without a name that leads back to itself.
    this.#known.set(atom, "itself");
    const size = ownSize(atom);
    const entries = [...this.entriesOf(atom)].map(([table, content]) => `${table} ${content}`);
    const content = sha256([atom.kind, size, this.#stretch(atom, 0, size), ...entries].join("\n"));
    this.#known.set(atom, content);
    return content;
  }

  /** By table, what its entries about an atom say, of those tables whose entries change what code does: static branches, exception handlers and such. */
  entriesOf(atom: Atom): Map<string, string> {
    const found = new Map<string, string>();
    for (const entry of meaningfulEntries(this.#unit.tables).get(atom) ?? [])
      found.set(entry.table, `${found.get(entry.table) ?? ""}\n${this.#entry(entry, atom)}`);
    return found;
  }

  /**
   * By section name, what it holds, whatever the order and the places of what its relocations name. Undefined where the section is not cut into pieces.
   */
  meaningOfSection(name: string): string | undefined {
    const { elf, tables, atomsIn } = this.#unit;
    // The entry of the same number in the other table has what it says.
    const table = tables.get(name === ".orc_unwind" ? ".orc_unwind_ip" : name);
    if (table !== undefined)
      return sorted(
        table.entries.map(
          (entry) => `${this.#entry(entry, undefined)} ${Buffer.from(entry.partner ?? []).toString("hex")}`,
        ),
      );
    const atoms = elf.sections.filter((section) => section.name === name).flatMap(({ index }) => atomsIn(index));
    return atoms.length === 0
      ? undefined
      : sorted(atoms.map((atom) => `${atom.symbol === undefined ? "" : atom.base} ${this.contentOf(atom)}`));
  }

  /** Bytes of an atom and what is named there, from an offset on. */
  #stretch(atom: Atom, from: number, size: number): string {
    const places = atom.references
      .filter(({ offset }) => offset >= from && offset < from + size)
      .map((reference) => {
        const { target, offset, type } = reference;
        const place = `${offset - from} ${type}`;
        if (target.kind === "absolute") return `${place} ${target.addend}`;
        if (target.kind === "external") return `${place} ${target.name} ${target.addend}`;
        if (target.kind === "entry") return `${place} ${this.#entry(target.entry, atom)} ${target.addend}`;
        return `${place} ${this.#meaningOf(target.atom, target.addend, atom, this.#tailOf(reference, atom))}`;
      });
    return [Buffer.from(atom.bytes.subarray(from, from + size)).toString("hex"), ...places].join("\n");
  }

  /** How far the place that an instruction names is behind the target and its addend: the processor counts from the instruction's end. */
  #tailOf({ offset, type }: Reference, { kind, bytes }: Atom): number {
    const { arch } = this.#unit;
    return (kind === "function" || kind === "code") && arch.isPcRelative(type)
      ? arch.instructionTail(bytes, offset, type)
      : 0;
  }

  #entry({ table, bytes, references }: TableEntry, from: Atom | undefined): string {
    const rule = tableRules.find((one) => one.table === table);
    const ignored = rule?.ignored?.(bytes.length);
    const isIgnored = (offset: number): boolean =>
      ignored !== undefined && offset >= ignored.from && offset < ignored.to;
    const length =
      rule?.replacementLength === undefined ? undefined : (bytes[rule.replacementLength(bytes.length)] ?? 0);
    const fields = references
      .filter(({ offset }) => !isIgnored(offset))
      .map(({ offset, target }, index) => {
        if (target.kind !== "atom")
          return `${offset} ${target.kind === "external" ? target.name : target.kind} ${target.addend}`;
        // Of the code that takes the place of the function's, what follows it belongs to other entries.
        if (length !== undefined && index === 1)
          return `${offset} ${length === 0 ? "" : this.#stretch(target.atom, target.addend, length)}`;
        return `${offset} ${this.#meaningOf(target.atom, target.addend, from, 0)}`;
      });
    return `${table} ${Buffer.from(bytes.filter((_, at) => !isIgnored(at))).toString("hex")} ${fields.join(" ")}`;
  }

  #meaningOf(target: Atom, addend: number, from: Atom | undefined, tail: number): string {
    if (target === from) return `itself ${addend}`;
    if (addend + tail >= ownSize(target)) return `text ${textAt(target, addend + tail)}`;
    if (target.symbol === undefined) return `${this.contentOf(target)} ${addend}`;
    // Statics of several units may have one name.
    const isShared = (this.#named.get(target.base) ?? 0) > 1;
    return `${target.base} ${isShared ? this.contentOf(target) : ""} ${addend}`;
  }
}

function sorted(contents: string[]): string {
  return contents.sort().join("\n");
}

/** Bytes of an atom that its name is for: in a linked module, constants without a name follow others in one section. */
function ownSize({ start, end, kind, symbol }: Atom): number {
  const named = symbol?.size ?? 0;
  return kind !== "function" && kind !== "code" && named > 0 ? Math.min(named, end - start) : end - start;
}

/** A text without a name, up to its NUL, in hexadecimal. */
function textAt({ bytes }: Atom, from: number): string {
  const rest = Buffer.from(bytes).subarray(from);
  const end = rest.indexOf(0);
  return rest.subarray(0, end < 0 ? undefined : end + 1).toString("hex");
}

/** By name, what the loaded sections of a module hold, with what relocations name in place of the bytes that they fill. */
export function sectionContents(elf: ElfReader): Map<string, string> {
  const parts = new Map<string, string[]>();
  const isCarried = ({ flags, type, name }: Section): boolean =>
    (flags & SectionFlag.alloc) !== 0 && type !== SectionType.rela && name !== "";
  for (const section of elf.sections.filter(isCarried)) {
    const relocations = elf.sections
      .filter(({ type, info }) => type === SectionType.rela && info === section.index)
      .flatMap((one) => elf.relocations(one))
      .map(({ offset, type, symbol, addend }) => `${offset} ${type} ${namedPlace(elf, symbol, addend)}`)
      .sort();
    const bytes = section.type === SectionType.nobits ? "" : sha256(section.data);
    const list = parts.get(section.name) ?? [];
    list.push([section.size, bytes, ...relocations].join("\n"));
    parts.set(section.name, list);
  }
  return new Map([...parts].map(([name, list]) => [name, list.join("\n\n")]));
}

function namedPlace(elf: ElfReader, index: number, addend: number): string {
  const symbol = elf.symbols[index];
  if (symbol === undefined) return `? ${addend}`;
  if (symbol.type !== SymbolType.section) return `${symbol.name} ${addend}`;
  return `${elf.sections[symbol.section]?.name ?? ""} ${symbol.value + addend}`;
}
