import { type DebugEntry, DebugTag } from "../../elf/debug-entry.ts";
import { ElfFormatError } from "../../elf/format-error.ts";

/** Types nest less deep; damaged ones may go on for ever. */
const deepest = 16;
/** Steps that all types of a unit take together; damaged ones multiply. */
const mostSteps = 1_000_000;

const qualifiers: ReadonlySet<number> = new Set([
  DebugTag.const,
  DebugTag.volatile,
  DebugTag.restrict,
  DebugTag.atomic,
]);

const aggregates: ReadonlySet<number> = new Set([DebugTag.structure, DebugTag.union, DebugTag.enumeration]);

/** DW_ATE_boolean, DW_ATE_float and DW_ATE_unsigned. */
const encodings = { boolean: 2, float: 4, unsigned: 7 } as const;

/** Writes types of a unit's DWARF so that they can be compared. */
export class DebugTypes {
  /** By offset. */
  readonly entries: ReadonlyMap<number, DebugEntry>;
  readonly #tellSigns: boolean;
  #steps = 0;

  /** @param tellSigns numbers of one size differ by their sign in {@link meaning}, and an enum is one. */
  constructor(entries: ReadonlyMap<number, DebugEntry>, { tellSigns = false } = {}) {
    this.entries = entries;
    this.#tellSigns = tellSigns;
  }

  /** Name of the function that an entry is in; empty for one of file scope. */
  scopeOf(entry: DebugEntry): string {
    for (let above = entry.parent; above !== undefined; above = above.parent) {
      if (above.tag !== DebugTag.subprogram) continue;
      const origin = above.origin === undefined ? undefined : this.entries.get(above.origin);
      return above.name === "" ? (origin?.name ?? "") : above.name;
    }
    return "";
  }

  /** The struct or union that a thing of this type holds, or holds several of. */
  held(type: number | undefined): DebugEntry | undefined {
    let { entry } = this.#resolve(type);
    for (let step = 0; entry?.tag === DebugTag.array && step < deepest; step++) entry = this.#resolve(entry.type).entry;
    return entry;
  }

  /** True for a pointer, or several of them in a row, to a struct or union that neither has a name nor gets one from a typedef. */
  leadsToNameless(type: number | undefined): boolean {
    let { entry, alias } = this.#resolve(type);
    if (entry?.tag !== DebugTag.pointer) return false;
    for (
      let step = 0;
      entry !== undefined && (entry.tag === DebugTag.pointer || entry.tag === DebugTag.array);
      step++
    ) {
      if (step > deepest) return false;
      ({ entry, alias } = this.#resolve(entry.type));
    }
    if (entry === undefined || alias !== undefined) return false;
    return entry.name === "" && (entry.tag === DebugTag.structure || entry.tag === DebugTag.union);
  }

  /** True when the type itself, or that of the elements of an array, is const. */
  isConst(type: number | undefined): boolean {
    let entry = this.#entry(type);
    for (let step = 0; entry !== undefined && step < deepest; step++) {
      if (entry.tag === DebugTag.const) return true;
      if (!qualifiers.has(entry.tag) && entry.tag !== DebugTag.typedef && entry.tag !== DebugTag.array) return false;
      entry = this.#entry(entry.type);
    }
    return false;
  }

  /** What is behind typedefs and qualifiers. */
  plain(type: number | undefined): DebugEntry | undefined {
    return this.#resolve(type).entry;
  }

  /** True for an array, of whatever. */
  isArray(type: number | undefined): boolean {
    return this.plain(type)?.tag === DebugTag.array;
  }

  /** The subscripts of the element of an array of that number, counted through all its lengths: `[1][2]`. */
  subscripts({ children }: DebugEntry, index: number): string {
    const lengths = children
      .filter(({ tag }) => tag === DebugTag.subrange)
      .map(({ upperBound }) => (upperBound ?? 0) + 1);
    let [text, rest] = ["", index];
    for (const length of lengths.slice(1).reverse()) {
      text = `[${rest % length}]${text}`;
      rest = Math.floor(rest / length);
    }
    return `[${rest}]${text}`;
  }

  /** Equal for types that hold the same: typedefs and qualifiers do not count, named structs go by their names. */
  meaning(type: number | undefined, depth = 0): string {
    const { entry, alias } = this.#resolve(type);
    if (entry === undefined) return "void";
    if (depth > deepest) return "…";
    const inner = (of: number | undefined): string => this.meaning(of, depth + 1);
    switch (entry.tag) {
      case DebugTag.base: {
        const word =
          entry.encoding === encodings.boolean ? "bool" : entry.encoding === encodings.float ? "float" : "int";
        const isUnsigned = this.#tellSigns && entry.encoding === encodings.unsigned && entry.size !== 1;
        return `${isUnsigned ? "u" : ""}${word}${entry.size}`;
      }
      case DebugTag.enumeration:
        return `${this.#tellSigns ? "enum" : "int"}${entry.size}`;
      case DebugTag.pointer:
        return `*${inner(entry.type)}`;
      case DebugTag.array:
        return `${lengthsOf(entry)}${inner(entry.type)}`;
      case DebugTag.subroutineType:
        return this.prototype(entry, depth);
      case DebugTag.structure:
      case DebugTag.union: {
        const named = entry.name === "" ? alias : `${wordOf(entry)} ${entry.name}`;
        if (named !== undefined) return named;
        const members = entry.children.filter(({ tag }) => tag === DebugTag.member);
        return `${wordOf(entry)}${entry.size}{${members.map(({ name, type: of }) => `${name}:${inner(of)}`).join()}}`;
      }
      default:
        return `tag ${entry.tag}`;
    }
  }

  /** {@link meaning} of what a function, or a type of functions, takes and returns. */
  prototype(entry: DebugEntry, depth = 0): string {
    const takes = parametersOf(entry).map((type) => this.meaning(type, depth + 1));
    if (entry.children.some(({ tag }) => tag === DebugTag.unspecifiedParameters)) takes.push("…");
    return `(${takes.join()})${this.meaning(entry.type, depth + 1)}`;
  }

  /** Bytes; undefined where the type does not say. */
  size(type: number | undefined, depth = 0): number | undefined {
    const { entry } = this.#resolve(type);
    if (entry === undefined || depth > deepest) return undefined;
    if (entry.tag === DebugTag.pointer) return entry.size ?? 8;
    if (entry.tag !== DebugTag.array) return entry.isDeclaration ? undefined : entry.size;
    let size = this.size(entry.type, depth + 1);
    for (const { tag, upperBound } of entry.children)
      if (tag === DebugTag.subrange)
        size = size === undefined || upperBound === undefined ? undefined : size * (upperBound + 1);
    return size;
  }

  /** The declaration of a function as C writes it. */
  prototypeText(entry: DebugEntry): string {
    const takes = parametersOf(entry).map((type) => this.text(type));
    if (entry.children.some(({ tag }) => tag === DebugTag.unspecifiedParameters)) takes.push("...");
    return this.text(entry.type, `${entry.name}(${takes.length === 0 ? "void" : takes.join(", ")})`);
  }

  /** As C writes it. @param plain look through typedefs. */
  text(type: number | undefined, inside = "", plain = false, depth = 0): string {
    const entry = this.#entry(type);
    if (entry === undefined) return `void ${inside}`.trimEnd();
    if (depth > deepest) return "…";
    const inner = (text: string): string => this.text(entry.type, text, plain, depth + 1);
    switch (entry.tag) {
      case DebugTag.pointer: {
        const target = this.#entry(entry.type)?.tag;
        const isWrapped = target === DebugTag.array || target === DebugTag.subroutineType;
        return inner(isWrapped ? `(*${inside})` : `*${inside}`);
      }
      case DebugTag.array:
        return inner(`${inside}${lengthsOf(entry)}`);
      case DebugTag.subroutineType: {
        const parameters = parametersOf(entry).map((parameter) => this.text(parameter, "", plain, depth + 1));
        return inner(`${inside}(${parameters.length === 0 ? "void" : parameters.join(", ")})`);
      }
      case DebugTag.const:
      case DebugTag.volatile: {
        const word = entry.tag === DebugTag.const ? "const" : "volatile";
        if (this.#entry(entry.type)?.tag === DebugTag.pointer) return inner(`${word} ${inside}`.trimEnd());
        const rest = inner(inside);
        // gcc says of an array of constants that it is constant too.
        return rest.startsWith(`${word} `) ? rest : `${word} ${rest}`;
      }
      case DebugTag.restrict:
      case DebugTag.atomic:
        return inner(inside);
      case DebugTag.structure:
      case DebugTag.union:
      case DebugTag.enumeration:
        return `${wordOf(entry)} ${entry.name === "" ? "{…}" : entry.name} ${inside}`.trimEnd();
      case DebugTag.typedef:
        if (plain && !this.#isNameless(type)) return inner(inside);
        return `${entry.name} ${inside}`.trimEnd();
      default:
        return `${entry.name} ${inside}`.trimEnd();
    }
  }

  /** True for a struct, union or enum that only a typedef names. */
  #isNameless(type: number | undefined): boolean {
    const { entry } = this.#resolve(type);
    return entry !== undefined && entry.name === "" && aggregates.has(entry.tag);
  }

  #entry(type: number | undefined): DebugEntry | undefined {
    if (++this.#steps > mostSteps) throw new ElfFormatError("types nest without an end", type ?? 0);
    return type === undefined ? undefined : this.entries.get(type);
  }

  /** What is behind typedefs and qualifiers, and the last typedef on the way. */
  #resolve(type: number | undefined): { entry: DebugEntry | undefined; alias: string | undefined } {
    let entry = this.#entry(type);
    let alias: string | undefined;
    for (let step = 0; entry !== undefined && step < deepest; step++) {
      if (entry.tag === DebugTag.typedef) alias = entry.name;
      else if (!qualifiers.has(entry.tag)) break;
      entry = this.#entry(entry.type);
    }
    return { entry, alias };
  }
}

/** `struct`, `union` or `enum`. */
export function wordOf({ tag }: DebugEntry): string {
  return tag === DebugTag.union ? "union" : tag === DebugTag.enumeration ? "enum" : "struct";
}

function lengthsOf({ children }: DebugEntry): string {
  const ranges = children.filter(({ tag }) => tag === DebugTag.subrange);
  return ranges.map(({ upperBound }) => `[${upperBound === undefined ? "" : upperBound + 1}]`).join("");
}

function parametersOf({ children }: DebugEntry): (number | undefined)[] {
  return children.filter(({ tag }) => tag === DebugTag.formalParameter).map(({ type }) => type);
}
