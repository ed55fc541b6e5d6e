import type { Atom } from "../diff/atoms.ts";
import type { ComparisonRecord } from "./comparison-record.ts";
import type { PlaceValue } from "./target-object.ts";

/** Why a function of the original is not the code of the target. */
export interface Mismatch {
  /** Offset in the function of the first difference. */
  readonly offset: number;
  /** One clause, such as `byte 0x4a is 75 in the image and 74 here`. */
  readonly text: string;
}

/** A function whose offsets in the target are not those of the original; what refers to them is checked when all are known. */
export interface MovedFunction {
  readonly atom: Atom;
  readonly start: number;
  readonly pending: { readonly from: number; readonly to: number }[];
  /** True when an offset of the original is that place of the target; set when all instructions of the function have been paired. */
  isPlace?: (from: number, to: number) => boolean;
}

/** What one comparison learnt; taken over only when all of it holds. */
export class Findings {
  readonly atoms = new Map<Atom, number>();
  readonly externals = new Map<string, PlaceValue>();
  /** Content that was compared, by the address that it was compared at. */
  readonly visited = new Map<Atom, Set<number>>();
  moved: MovedFunction | undefined;
  /** Told of all that is compared, where somebody asks. */
  readonly record: ComparisonRecord | undefined;

  constructor(record?: ComparisonRecord) {
    this.record = record;
  }

  /** @returns false when the atom was compared at this address before. */
  visit(atom: Atom, address: number): boolean {
    const known = this.visited.get(atom);
    if (known === undefined) this.visited.set(atom, new Set([address]));
    else if (known.has(address)) return false;
    else known.add(address);
    return true;
  }
}
