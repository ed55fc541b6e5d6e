import { SymbolType } from "../../elf/constants.ts";
import { ElfReader } from "../../elf/reader.ts";
import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import { prototypeText } from "../return-type.ts";
import { type OperationTable, operationTables } from "./operations.ts";

/** A function that user space reaches through a table of operations. */
export interface EntryPoint {
  readonly name: string;
  /** Structure and member that lead to it, for example `proto_ops.bind`. */
  readonly through: string;
  /** What no longer works when it fails. */
  readonly breaks: string;
  /** What it returns when it fails; undefined where its type tells. */
  readonly failure?: string | undefined;
}

/** A pointer to a function in such a structure. */
interface TableMember {
  readonly member: string;
  readonly prototype: string;
  /** Undefined for one that closes nothing. */
  readonly breaks: string | undefined;
  readonly failure: string | undefined;
}

/** A structure of operations as the kernel's types have it. */
interface KnownTable {
  readonly struct: string;
  readonly size: number;
  /** By offset in bytes: the member and the type of the function that it points to. */
  readonly functions: ReadonlyMap<number, TableMember>;
}

/**
 * Finds the tables of operations in a module's data: variables of exactly the size of such a structure, whose pointers all are where that has pointers to
 * functions, and lead to functions of exactly the type that the member has. A variable that could be one of several structures is passed over.
 * @param types of the module, on top of the kernel's.
 */
export function moduleEntryPoints(file: Uint8Array, types: Btf): readonly EntryPoint[] {
  const elf = new ElfReader(file);
  const tables = operationTables.flatMap((row) => knownTable(types, row));
  const functionAt = new Map(
    elf.symbols
      .filter(({ type }) => type === SymbolType.func)
      .map((symbol): [string, string] => [`${symbol.section} ${symbol.value}`, symbol.name]),
  );
  const found = new Map<string, EntryPoint>();
  for (const variable of elf.symbols.filter(({ type, size }) => type === SymbolType.object && size > 0)) {
    const pointers = new Map<number, string>();
    for (const { offset, symbol, addend } of elf.relocationsFor(variable.section)) {
      if (offset < variable.value || offset >= variable.value + variable.size) continue;
      const home = elf.symbols[symbol];
      const name = home === undefined ? undefined : functionAt.get(`${home.section} ${home.value + addend}`);
      if (name !== undefined) pointers.set(offset - variable.value, name);
    }
    if (pointers.size === 0) continue;
    const fitting = tables.filter((table) => fits(table, variable.size, pointers, types));
    const [first, ...others] = fitting.map((table) => entriesOf(table, variable.size, pointers));
    if (first === undefined || !others.every((other) => sameEntries(first, other))) continue;
    for (const point of first) {
      if (!found.has(point.name)) found.set(point.name, point);
    }
  }
  const order = new Map(operationTables.map(({ struct }, at) => [struct, at] as const));
  const rank = ({ through }: EntryPoint): number => order.get(through.split(".")[0] ?? "") ?? 0;
  return [...found.values()].sort((a, b) => rank(a) - rank(b));
}

function knownTable(types: Btf, { struct, members, failures = {} }: OperationTable): KnownTable[] {
  const [type] = types.find(BtfKind.struct, struct);
  if (type === undefined) return [];
  const functions = new Map<number, TableMember>();
  const collect = (of: number, base: number): void => {
    for (const { name, type: member, offset } of types.members(of)) {
      const inner = types.resolve(member);
      if (name === "" && [BtfKind.struct, BtfKind.union].some((kind) => kind === types.kind(inner)))
        collect(inner, base + offset);
      if (types.kind(inner) !== BtfKind.ptr) continue;
      const target = types.resolve(types.target(inner));
      if (types.kind(target) !== BtfKind.funcProto || functions.has((base + offset) / 8)) continue;
      functions.set((base + offset) / 8, {
        member: name,
        prototype: prototypeText(types, target),
        breaks: members[name],
        failure: failures[name],
      });
    }
  };
  collect(type, 0);
  return [{ struct, size: types.size(type), functions }];
}

/** Lists of structures are one variable too. */
function fits(table: KnownTable, size: number, pointers: ReadonlyMap<number, string>, types: Btf): boolean {
  if (table.size === 0 || size % table.size !== 0) return false;
  return [...pointers].every(([offset, name]) => {
    const member = table.functions.get(offset % table.size);
    return (
      member !== undefined &&
      types.find(BtfKind.func, name).some((func) => prototypeText(types, types.target(func)) === member.prototype)
    );
  });
}

function entriesOf(table: KnownTable, size: number, pointers: ReadonlyMap<number, string>): EntryPoint[] {
  const points: EntryPoint[] = [];
  for (let start = 0; start < size; start += table.size) {
    for (const [offset, { member, breaks, failure }] of table.functions) {
      const name = pointers.get(start + offset);
      if (name !== undefined && breaks !== undefined)
        points.push({ name, through: `${table.struct}.${member}`, breaks, failure });
    }
  }
  return points;
}

/** Structures that cannot be told apart are the same to whoever wants to close the way. */
function sameEntries(one: readonly EntryPoint[], other: readonly EntryPoint[]): boolean {
  const text = (points: readonly EntryPoint[]): string =>
    points.map(({ name, breaks }) => `${name} ${breaks}`).join("\n");
  return text(one) === text(other);
}
