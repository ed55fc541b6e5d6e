import type { TableRule } from "../diff/special-sections/special-sections.ts";
import type { FunctionUses } from "./function-uses.ts";
import type { Accesses } from "./variable-accesses.ts";

/** Who may refer to a symbol by its name: every unit of the object, or only the one that defines it. */
export type SymbolBinding = "global" | "weak" | "local";

/** A symbol of the target as the kernel will look it up. */
export interface TargetSymbol {
  readonly name: string;
  readonly address: number;
  /** 0 when the name is unique in the object, else its position (from 1) among all symbols of that name, counted as the kernel counts. */
  readonly sympos: number;
  /** What the linker made of it: a local one is for its own unit only. Undefined where the symbol table does not tell. */
  readonly binding?: SymbolBinding | undefined;
  /** The patch module that added it to the running kernel; undefined for what the object itself has. */
  readonly from?: string | undefined;
}

/** An entry of a table of the target. */
export interface TargetEntry {
  /** Address of the entry. */
  readonly at: number;
  readonly size: number;
  /** Address of the place in the code that it is about. */
  readonly place: number;
  /** The entry of the same number in the table's partner. */
  readonly partner?: { readonly at: number; readonly size: number } | undefined;
}

/** What a relocation place of the target holds: an address, or (in a module, before loading) an outside symbol or a number. */
export type PlaceValue =
  | { readonly kind: "address"; readonly address: number }
  | { readonly kind: "absolute"; readonly value: number }
  | { readonly kind: "external"; readonly name: string; readonly addend: number };

/**
 * The code that will be patched: the kernel image, or one module of it. Addresses are numbers that only mean something within the same object.
 */
export interface TargetObject {
  /** `vmlinux` or the module's name, as in `klp_object`. */
  readonly name: string;
  /** What it was read from, for messages. */
  readonly source: string;
  /** All symbols of a name, in the order in which the kernel counts them. */
  symbolsNamed(name: string): readonly TargetSymbol[];
  /** All symbols at an address. */
  symbolsAt(address: number): readonly TargetSymbol[];
  /** Bytes from the function's address to where the next symbol or the section ends; undefined when unknown. */
  roomAt(address: number): number | undefined;
  /** Sizes of what the symbol table has at an address; none where it does not tell. */
  sizesAt?(address: number): readonly number[];
  /** How the object's own code reaches a variable; undefined where it is not known. */
  accessesOf?(address: number): Accesses | undefined;
  /** All that the object does with a function once it is loaded; undefined where it is not known. */
  usesOfFunction?(address: number): FunctionUses | undefined;
  /** True where the object hands one of these types, by their numbers in its BTF, to BPF programs (`.BTF_ids`). */
  namesTypes?(numbers: ReadonlySet<number>): boolean;
  /** The function that holds an address, by its own address; undefined for code without a symbol. */
  functionAt?(address: number): number | undefined;
  bytesAt(address: number, length: number): Uint8Array | undefined;
  /**
   * Symbol value + addend of the place at an address.
   * @param width bytes of the place, 1, 2, 4 or 8.
   * @param pcRelative the place's own address is added to what it holds.
   */
  valueAt(address: number, width: number, pcRelative: boolean): PlaceValue | undefined;
  /** What the memory at an address was for, when it is freed once the kernel has booted: one clause such as `the kernel's init memory`. @param name of the symbol that is meant. */
  goneAt?(address: number, name: string): string | undefined;
  /** The section of a name that the object had only while it was loaded; such names are not among its symbols. */
  goneNamed?(name: string): string | undefined;
  /** Names of all symbols whose addresses are greater than `from` and less than `to`, in the order of their addresses. */
  namesBetween?(from: number, to: number): Iterable<string>;
  /** Modules that are in memory whenever this one is. */
  readonly dependsOn?: ReadonlySet<string>;
  /**
   * Addresses in [address, address + length) where the object has relocations that fill something; undefined for an object that is linked, whose places
   * hold what they refer to.
   */
  placesIn?(address: number, length: number): readonly number[] | undefined;
  /** True when memory without content in the file holds all of this: it is zero when the object is loaded. */
  isZeroAt?(address: number, length: number): boolean | undefined;
  /** Name of the section that holds an address; in the kernel image that of the linked section. */
  sectionAt?(address: number): string | undefined;
  /**
   * Entries of a table about places in [from, to), in the order of the places and then of the table; undefined when it is not known where the table is.
   * @param size bytes of an entry, where the unit or the target's types say so.
   */
  tableEntries?(
    rule: TableRule,
    size: number | undefined,
    from: number,
    to: number,
  ): readonly TargetEntry[] | undefined;
  /** Names of tables of the target that {@link runtimeTableRule} knows. */
  runtimeTables?(): readonly string[];
  /** Address of the code that runs for that of a function; only where patch modules are in force. */
  canonical?(address: number): number;
  /** The shipped function that the code at an address replaces. */
  shippedAt?(address: number): { readonly object: TargetObject; readonly address: number } | undefined;
}

/** Bytes from an address on: as many as are wanted, or as the object has there; undefined where it has none. */
export function bytesFrom(
  target: Pick<TargetObject, "bytesAt">,
  address: number,
  most: number,
): Uint8Array | undefined {
  let [enough, tooMany] = [0, most + 1];
  while (tooMany - enough > 1) {
    const length = Math.floor((enough + tooMany) / 2);
    if (target.bytesAt(address, length) === undefined) tooMany = length;
    else enough = length;
  }
  return enough === 0 ? undefined : target.bytesAt(address, enough);
}

/** Reads a little-endian signed value of 1, 2, 4 or 8 bytes. */
export function readSigned(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length === 1) return view.getInt8(0);
  if (bytes.length === 2) return view.getInt16(0, true);
  if (bytes.length === 4) return view.getInt32(0, true);
  return view.getInt32(4, true) * 0x1_0000_0000 + view.getUint32(0, true);
}
