import type { UnitPlan } from "../build/resolve/plan.ts";
import { describeLock, LockReader } from "../build/warnings/locks/lock-paths.ts";
import { type Atom, type Reference, seenThrough } from "../diff/atoms.ts";
import type { FunctionChange } from "../diff/changes.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { isOfCompiler } from "./compiler-calls.ts";
import type { Before, StateChange } from "./report-types.ts";

/** What changed functions of a unit do to locks and data, before and after. */
export class StateReader {
  readonly #plan: UnitPlan;
  readonly #before: LockReader;
  readonly #after: LockReader;

  constructor(plan: UnitPlan) {
    this.#plan = plan;
    this.#before = new LockReader(plan.original);
    this.#after = new LockReader(plan.patched);
  }

  stateOf({ atom, original }: FunctionChange): StateChange {
    const { original: before, patched } = this.#plan;
    const locks = (reader: LockReader, of: Atom | undefined): string[] => {
      const parameters = patched.arch.dataFlow?.calls.parameters ?? [];
      const uses = of === undefined ? [] : (reader.factsOf(of)?.uses ?? []);
      return uses.map((use) => describeLock(use, parameters));
    };
    return {
      locks: beside(locks(this.#before, original), locks(this.#after, atom)),
      data: beside(original === undefined ? [] : dataUses(before, original), dataUses(patched, atom)),
      calls: beside(original === undefined ? [] : callsIn(before, original), callsIn(patched, atom)),
    };
  }
}

/** Both lists, without repetitions, in the order of their names. */
function beside(before: readonly string[], after: readonly string[]): Before[] {
  const [old, fresh] = [new Set(before), new Set(after)];
  return [...new Set([...old, ...fresh])]
    .sort((a, b) => (a < b ? -1 : 1))
    .map((what) => ({ what, before: old.has(what), after: fresh.has(what) }));
}

/** What a reference of code leads to, by its name; undefined for a text, a constant, or a number. */
export function namedTarget(reference: Reference): { readonly name: string; readonly isCode: boolean } | undefined {
  const target = seenThrough(reference.target);
  if (target.kind === "absolute" || target.kind === "entry") return undefined;
  if (target.kind === "external") return { name: target.name, isCode: false };
  const { atom } = target;
  if (atom.symbol === undefined || atom.kind === "string" || atom.kind === "constant") return undefined;
  return { name: atom.name, isCode: atom.kind === "function" || atom.kind === "code" };
}

function callsIn({ arch }: UnitObject, atom: Atom): string[] {
  return atom.references.flatMap((reference) => {
    const target = arch.isBranch(atom, reference) ? namedTarget(reference) : undefined;
    return target === undefined || target.name === atom.name || isOfCompiler(target.name) ? [] : [target.name];
  });
}

/** Reads and writes of variables that the code names; what it reaches through pointers is not among them. */
function dataUses({ arch }: UnitObject, atom: Atom): string[] {
  const effects = arch.effects?.().decode(atom.bytes) ?? [];
  return atom.references.flatMap((reference) => {
    if (arch.isBranch(atom, reference)) return [];
    const target = namedTarget(reference);
    if (target === undefined || target.isCode || isOfCompiler(target.name)) return [];
    const effect = effects.find(
      ({ offset, length }) => reference.offset >= offset && reference.offset < offset + length,
    );
    const isMemory = effect?.displacement !== undefined && effect.offset + effect.displacement === reference.offset;
    const act = effect === undefined || !isMemory ? "address" : effect.memory;
    return [`${acts[act]} ${target.name}`];
  });
}

const acts = {
  none: "takes the address of",
  address: "takes the address of",
  read: "reads",
  write: "writes",
  both: "reads and writes",
} as const;
