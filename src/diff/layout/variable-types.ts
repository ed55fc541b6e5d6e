import { type DebugEntry, DebugTag, readDebugEntries } from "../../elf/debug-entries.ts";
import { ElfFormatError } from "../../elf/format-error.ts";

/** A variable that keeps its place while the unit runs, and what is in it. */
export interface UnitVariable {
  readonly name: string;
  /** The function that it is declared in; empty for one of file scope. */
  readonly scope: string;
  /** True for one that another unit defines. */
  readonly isDeclaration: boolean;
  /** True for a pointer that does not keep its place itself, but leads to objects of a type without a name, which no other declaration describes. */
  readonly isOnlyWay: boolean;
  /** True when the type itself, or that of the elements of an array, is const. */
  readonly isConst: boolean;
  /** The same for types of the same meaning: numbers of one size are alike, named structs go by their names. */
  readonly meaning: string;
  /** The declaration as C writes it. */
  readonly text: string;
  /** The same without typedefs of anything but structs and unions. */
  readonly plainText: string;
}

/** What the debug information of a unit tells beyond its BTF. */
export interface UnitDeclarations {
  readonly variables: readonly UnitVariable[];
  /** Names of structs and unions that are defined in a function, there only, and of which only variables on the stack hold one: `struct name`. */
  readonly localTypes: ReadonlySet<string>;
}

/**
 * The variables and local types of a compiled unit from its DWARF, for which BTF has no room.
 * @returns none without debug information.
 * @throws ElfFormatError for debug information that cannot be read.
 */
export function unitDeclarations(elf: Parameters<typeof readDebugEntries>[0]): UnitDeclarations {
  const types = new TypeReader(readDebugEntries(elf));
  return { variables: variablesOf(types), localTypes: localTypesOf(types) };
}

/**
 * Types whose objects end with the calls of the functions that define them: those are all on the stack. A pointer to one may lead to an object that was
 * allocated, and that the next call finds again; the values of an enum may be kept anywhere.
 */
function localTypesOf(types: TypeReader): Set<string> {
  const local = new Set<string>();
  const shared = new Set<string>();
  const onStack = new Set<DebugEntry>();
  const elsewhere = new Set<DebugEntry>();
  for (const entry of types.entries.values()) {
    const { tag } = entry;
    if ((tag === DebugTag.structure || tag === DebugTag.union) && entry.name !== "" && !entry.isDeclaration)
      (types.scopeOf(entry) === "" ? shared : local).add(`${wordOf(entry)} ${entry.name}`);
    const held = typed.has(tag) ? types.held(entry.type) : undefined;
    if (held === undefined) continue;
    const isAutomatic = tag === DebugTag.variable && !entry.isStatic && !entry.isDeclaration;
    (isAutomatic || tag === DebugTag.formalParameter ? onStack : elsewhere).add(held);
  }
  for (const entry of types.entries.values()) {
    if (
      (entry.tag === DebugTag.structure || entry.tag === DebugTag.union) &&
      local.has(`${wordOf(entry)} ${entry.name}`)
    )
      if (!onStack.has(entry) || elsewhere.has(entry)) shared.add(`${wordOf(entry)} ${entry.name}`);
  }
  return new Set([...local].filter((title) => !shared.has(title)));
}

function variablesOf(types: TypeReader): UnitVariable[] {
  const found: UnitVariable[] = [];
  for (const entry of types.entries.values()) {
    if (entry.tag !== DebugTag.variable && entry.tag !== DebugTag.formalParameter) continue;
    const declared = entry.origin === undefined ? entry : (types.entries.get(entry.origin) ?? entry);
    const name = entry.name === "" ? declared.name : entry.name;
    const isDeclaration = entry.isDeclaration && !entry.isStatic;
    const type = entry.type ?? declared.type;
    const isWay = types.leadsToNameless(type);
    if (name === "" || !(entry.isStatic || isDeclaration || isWay)) continue;
    found.push({
      ...{ name, scope: types.scopeOf(declared), isDeclaration, isConst: types.isConst(type) },
      isOnlyWay: isWay && !entry.isStatic && !isDeclaration,
      ...{ meaning: types.meaning(type), text: types.text(type, name) },
      plainText: types.text(type, name, true),
    });
  }
  return found;
}

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

/** What has a type, or is about one. */
const typed: ReadonlySet<number> = new Set([
  DebugTag.variable,
  DebugTag.formalParameter,
  DebugTag.member,
  DebugTag.pointer,
]);

const aggregates: ReadonlySet<number> = new Set([DebugTag.structure, DebugTag.union, DebugTag.enumeration]);

/** DW_ATE_boolean and DW_ATE_float. */
const encodings = { boolean: 2, float: 4 } as const;

class TypeReader {
  readonly entries: ReadonlyMap<number, DebugEntry>;
  #steps = 0;

  constructor(entries: ReadonlyMap<number, DebugEntry>) {
    this.entries = entries;
  }

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

  isConst(type: number | undefined): boolean {
    let entry = this.#entry(type);
    for (let step = 0; entry !== undefined && step < deepest; step++) {
      if (entry.tag === DebugTag.const) return true;
      if (!qualifiers.has(entry.tag) && entry.tag !== DebugTag.typedef && entry.tag !== DebugTag.array) return false;
      entry = this.#entry(entry.type);
    }
    return false;
  }

  meaning(type: number | undefined, depth = 0): string {
    const { entry, alias } = this.#resolve(type);
    if (entry === undefined) return "void";
    if (depth > deepest) return "…";
    const inner = (of: number | undefined): string => this.meaning(of, depth + 1);
    switch (entry.tag) {
      case DebugTag.base: {
        const word =
          entry.encoding === encodings.boolean ? "bool" : entry.encoding === encodings.float ? "float" : "int";
        return `${word}${entry.size}`;
      }
      case DebugTag.enumeration:
        return `int${entry.size}`;
      case DebugTag.pointer:
        return `*${inner(entry.type)}`;
      case DebugTag.array:
        return `${lengthsOf(entry)}${inner(entry.type)}`;
      case DebugTag.subroutineType:
        return `(${parametersOf(entry).map(inner).join()})${inner(entry.type)}`;
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

  /** @param plain look through typedefs. */
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

function wordOf({ tag }: DebugEntry): string {
  return tag === DebugTag.union ? "union" : tag === DebugTag.enumeration ? "enum" : "struct";
}

function lengthsOf({ children }: DebugEntry): string {
  const ranges = children.filter(({ tag }) => tag === DebugTag.subrange);
  return ranges.map(({ upperBound }) => `[${upperBound === undefined ? "" : upperBound + 1}]`).join("");
}

function parametersOf({ children }: DebugEntry): (number | undefined)[] {
  return children.filter(({ tag }) => tag === DebugTag.formalParameter).map(({ type }) => type);
}
