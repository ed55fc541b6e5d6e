import type { Atom, TableEntry } from "../diff/atoms.ts";
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

/** Sections in which a module describes itself: those of any two differ. */
const describing = /^(\.modinfo|\.note\..*|\.gnu\.linkonce\.this_module|__versions)$/;

/** True for a section in which a module only says what it is. */
export function isDescription(section: string): boolean {
  return describing.test(section);
}

/** Tables and variables that the glue reads: what they say is compared as functions in force. */
const ofGlue = /^(kmend_\w+|__this_module|init_module|cleanup_module)$/;

/** Everything with a name in the loaded sections of a module, the tables of the glue left out. */
export function broughtItems(unit: UnitObject, reader: ContentReader): BroughtItem[] {
  const glue = glueSymbols(unit.elf);
  return unit.atoms.flatMap((atom): BroughtItem[] => {
    const { symbol, kind, section } = atom;
    const isLoaded = (section.flags & SectionFlag.alloc) !== 0;
    if (symbol === undefined || symbol.type === SymbolType.section || !isLoaded || isDescription(section.name))
      return [];
    if (ofGlue.test(atom.name) || atom.base.startsWith("__UNIQUE_ID___addressable_")) return [];
    const isCode = kind === "function" || kind === "code";
    const isWritable = (section.flags & SectionFlag.write) !== 0;
    const what = isCode ? "function" : isWritable ? "variable" : "constant";
    return [{ name: atom.base, what, atom, content: reader.contentOf(atom), isOfGlue: glue.has(symbol.index) }];
  });
}

/** Local symbols of the glue: those that follow the name of its file. */
function glueSymbols({ symbols }: ElfReader): Set<number> {
  const found = new Set<number>();
  let file = "";
  for (const { index, name, type, binding } of symbols) {
    if (type === SymbolType.file) file = name;
    else if (binding === Binding.local && file === "kmend-glue.c") found.add(index);
  }
  return found;
}

/** What an atom of a module holds, with the meaning of its relocations, as something that can be compared. */
export class ContentReader {
  readonly #known = new Map<Atom, string>();
  readonly #named = new Map<string, number>();

  constructor(unit: UnitObject) {
    for (const { base, symbol } of unit.atoms)
      if (symbol !== undefined) this.#named.set(base, (this.#named.get(base) ?? 0) + 1);
  }

  contentOf(atom: Atom): string {
    const known = this.#known.get(atom);
    if (known !== undefined) return known;
    // A piece without a name that leads back to itself.
    this.#known.set(atom, "itself");
    const size = ownSize(atom);
    const places = atom.references
      .filter(({ offset }) => offset < size)
      .map(({ offset, type, target }) => {
        if (target.kind === "absolute") return `${offset} ${type} ${target.addend}`;
        if (target.kind === "external") return `${offset} ${type} ${target.name} ${target.addend}`;
        if (target.kind === "entry") return `${offset} ${type} ${this.#entry(target.entry, atom)} ${target.addend}`;
        return `${offset} ${type} ${this.#meaningOf(target.atom, target.addend, atom)}`;
      });
    const bytes = Buffer.from(atom.bytes).subarray(0, size);
    const content = sha256([atom.kind, size, bytes.toString("hex"), ...places].join("\n"));
    this.#known.set(atom, content);
    return content;
  }

  #entry({ table, bytes, references }: TableEntry, from: Atom): string {
    const fields = references.map(({ offset, target }) => {
      if (target.kind === "atom") return `${offset} ${this.#meaningOf(target.atom, target.addend, from)}`;
      return `${offset} ${target.kind === "external" ? target.name : target.kind} ${target.addend}`;
    });
    return `${table} ${Buffer.from(bytes).toString("hex")} ${fields.join(" ")}`;
  }

  #meaningOf(target: Atom, addend: number, from: Atom): string {
    if (target === from) return `itself ${addend}`;
    if (addend >= ownSize(target)) return `text ${textAt(target, addend)}`;
    if (target.symbol === undefined) return `${this.contentOf(target)} ${addend}`;
    // Statics of several units may have one name.
    const isShared = (this.#named.get(target.base) ?? 0) > 1;
    return `${target.base} ${isShared ? this.contentOf(target) : ""} ${addend}`;
  }
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
