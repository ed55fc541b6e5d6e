import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import { isForward, typedefNameOf, wordOf } from "./same-types.ts";

/** The definitions of one BTF by name. */
export interface TypeTable {
  /** Complete structs, unions and enums by `struct name`; those that only a typedef names by that name. */
  readonly definitions: ReadonlyMap<string, readonly number[]>;
  /** Structs, unions and enums that are only declared, by `struct name`. */
  readonly declared: ReadonlySet<string>;
  /** Functions by name. */
  readonly functions: ReadonlyMap<string, readonly number[]>;
  /** Numbers by the name that a typedef gives them. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
  /** Enums that nothing names. */
  readonly unnamedEnums: readonly number[];
}

/** Sorts the types of a unit (a base is left out). */
export function tableOfTypes(btf: Btf): TypeTable {
  const definitions = new Map<string, number[]>();
  const functions = new Map<string, number[]>();
  const numbers = new Map<string, number[]>();
  const unnamedEnums: number[] = [];
  const declared = new Set<string>();
  const add = (map: Map<string, number[]>, name: string, type: number): void => {
    const known = map.get(name);
    if (known === undefined) map.set(name, [type]);
    else known.push(type);
  };
  for (let type = btf.first; type < btf.count; type++) {
    const kind = btf.kind(type);
    if (kind === BtfKind.func) add(functions, btf.name(type), type);
    else if (kind === BtfKind.typedef) {
      const definition = unnamedBehind(btf, type);
      if (definition !== undefined) add(definitions, btf.name(type), definition);
      else if (isNumber(btf, type)) add(numbers, btf.name(type), type);
    } else if (isForward(btf, type)) declared.add(`${wordOf(btf, type)} ${btf.name(type)}`);
    else if (isDefinition(kind)) {
      const name = btf.name(type);
      if (name !== "") add(definitions, `${wordOf(btf, type)} ${name}`, type);
      else if (kind === BtfKind.enum || kind === BtfKind.enum64) unnamedEnums.push(type);
    }
  }
  return { definitions, declared, functions, numbers, unnamedEnums };
}

/** Typedefs of that name in a large BTF that stand for numbers. */
export function findNumbers(btf: Btf, name: string): number[] {
  return btf.find(BtfKind.typedef, name).filter((type) => isNumber(btf, type));
}

/** Enums without a name in a large BTF. */
export function unnamedEnumsOf(btf: Btf): number[] {
  const found = btf.base === undefined ? [] : unnamedEnumsOf(btf.base);
  for (let type = btf.first; type < btf.count; type++) {
    const kind = btf.kind(type);
    if ((kind === BtfKind.enum || kind === BtfKind.enum64) && btf.name(type) === "") found.push(type);
  }
  return found;
}

function isNumber(btf: Btf, type: number): boolean {
  const kind = btf.kind(btf.resolve(type));
  return kind === BtfKind.int || kind === BtfKind.float;
}

/** Complete definitions in a large BTF of what {@link TypeTable} calls `title`. */
export function findDefinitions(btf: Btf, title: string): number[] {
  const [, word, name] = /^(struct|union|enum) (.+)$/.exec(title) ?? [];
  if (word === undefined || name === undefined) {
    return btf.find(BtfKind.typedef, title).flatMap((type) => unnamedBehind(btf, type) ?? []);
  }
  const kinds = word === "enum" ? [BtfKind.enum, BtfKind.enum64] : [word === "struct" ? BtfKind.struct : BtfKind.union];
  return kinds.flatMap((kind) => btf.find(kind, name)).filter((type) => !isForward(btf, type));
}

/** The struct, union or enum without a name of its own that a typedef gives one. */
function unnamedBehind(btf: Btf, typedef: number): number | undefined {
  const definition = btf.resolve(typedef);
  const isNameless = isDefinition(btf.kind(definition)) && btf.name(definition) === "";
  return isNameless && typedefNameOf(btf, typedef) === btf.name(typedef) ? definition : undefined;
}

function isDefinition(kind: BtfKind): boolean {
  return kind === BtfKind.struct || kind === BtfKind.union || kind === BtfKind.enum || kind === BtfKind.enum64;
}
