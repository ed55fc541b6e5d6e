import type { Atom, Reference, TableEntry } from "../atoms.ts";
import type { Route } from "../select.ts";
import type { UnitObject } from "../unit-object.ts";

/** The address of something carried, at the place in carried code where it is taken, or read from carried data. */
export interface TakenAddress {
  readonly target: Atom;
  /** The function, or its cold part. */
  readonly user: Atom;
  /** Offset of the place in it. */
  readonly offset: number;
}

/** An end of an address's way that may leave it where it is found after the function has ended. */
export interface AddressEnd {
  readonly address: TakenAddress;
  /** `stored` in memory, `on-stack` in an object there whose own address goes elsewhere, `passed` to a call, `returned` to a caller that is not carried. */
  readonly end: "stored" | "on-stack" | "passed" | "returned";
  /** For `passed`: the function; undefined for a call through a pointer. */
  readonly callee: string | undefined;
}

/** What a function that is not of the patched units does with the addresses it is given. */
export interface CalleeTreatment {
  /** Whether it may keep its argument of that position (from 0; Infinity for those on the stack). */
  readonly keeps: (position: number) => boolean;
  /** It copies what its arguments point at, addresses in it included. */
  readonly copies: boolean;
  /** Whether it may return its argument of that position, or a place in what that points at. */
  readonly returns: (position: number) => boolean;
  /** It leaves all registers as they are. */
  readonly preserves: boolean;
}

/** One unit of the patch. */
export interface FlowUnit {
  readonly unit: UnitObject;
  readonly carried: ReadonlySet<Atom>;
  readonly route: (from: Atom | TableEntry, reference: Reference) => Route;
  /** True for a function whose callers may be code that is not carried. */
  readonly hasOtherCallers: (atom: Atom) => boolean;
}

export interface FlowContext {
  /** The carried thing of another unit of the patch that a name stands for. */
  readonly carriedNamed: (name: string) => Atom | undefined;
  readonly treatmentOf: (name: string) => CalleeTreatment;
}
