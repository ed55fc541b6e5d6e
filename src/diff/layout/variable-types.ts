import { readDebugEntries } from "../../elf/debug-entries.ts";
import { type DebugEntry, DebugTag } from "../../elf/debug-entry.ts";
import { DebugTypes, wordOf } from "./debug-types.ts";

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
  const types = new DebugTypes(readDebugEntries(elf));
  return { variables: variablesOf(types), localTypes: localTypesOf(types) };
}

/**
 * Types whose objects end with the calls of the functions that define them: those are all on the stack. A pointer to one may lead to an object that was
 * allocated, and that the next call finds again; the values of an enum may be kept anywhere.
 */
function localTypesOf(types: DebugTypes): Set<string> {
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

function variablesOf(types: DebugTypes): UnitVariable[] {
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

/** What has a type, or is about one. */
const typed: ReadonlySet<number> = new Set([
  DebugTag.variable,
  DebugTag.formalParameter,
  DebugTag.member,
  DebugTag.pointer,
]);
