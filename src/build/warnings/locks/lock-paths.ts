import type { Atom } from "../../../diff/atoms.ts";
import type { UnitObject } from "../../../diff/unit-object.ts";
import { describeValue, inCaller, type Values } from "./address-values.ts";
import { type FlowEvent, type FunctionFlow, functionFlow, type Place } from "./function-flow.ts";
import { type LockOperation, lockOperation } from "./lock-operations.ts";

/** A lock that is taken or released somewhere in a function. */
export interface LockUse {
  readonly operation: LockOperation;
  /** Which lock; undefined when it is not known, or the only one of its kind. */
  readonly lock: Values;
}

/** A lock by a name that is the same in both builds. */
export type LockName = string;

/** How a function uses locks, by itself and by the functions of its unit that it calls. */
export interface LockFacts {
  readonly uses: readonly LockUse[];
  /** What holds on the ways through the function; undefined where there are too many, or a lock is not known. */
  readonly paths: LockPaths | undefined;
}

export interface LockPaths {
  /** All that have a name below; undefined for the only one of its kind. */
  readonly locks: ReadonlyMap<LockName, Values>;
  /** `first → second`: the second is taken while the first is held. */
  readonly orders: ReadonlySet<string>;
  /** Locks that may be held when the function returns. */
  readonly kept: ReadonlySet<LockName>;
  /** Locks that may be released without having been taken here. */
  readonly given: ReadonlySet<LockName>;
  /** Calls (of other things than locks) and accesses to memory, and the locks that are held at each of them whichever way led to it. */
  readonly sites: readonly { readonly what: string; readonly place: Place; readonly held: ReadonlySet<LockName> }[];
}

/** What a way through a function has done. */
interface Way {
  /** Locks that it holds, sorted. */
  readonly held: readonly LockName[];
  /** Locks of its caller that it has released, sorted. */
  readonly given: readonly LockName[];
}

interface Summary {
  readonly uses: readonly LockUse[];
  readonly returned: Values;
  readonly paths: LockPaths | undefined;
  /** The states at its returns. */
  readonly ways: readonly Way[];
}

const mostWays = 64;
const deepestCall = 4;

/** Looks at the functions of one build of a unit. */
export class LockReader {
  readonly #unit: UnitObject;
  readonly #summaries = new Map<Atom, Summary | undefined>();

  constructor(unit: UnitObject) {
    this.#unit = unit;
  }

  /** @returns undefined where kmend cannot follow the code. */
  factsOf(atom: Atom): LockFacts | undefined {
    return this.#summary(atom, 0);
  }

  #summary(atom: Atom, depth: number): Summary | undefined {
    if (this.#summaries.has(atom)) return this.#summaries.get(atom);
    if (depth > deepestCall) return undefined;
    // A function that comes to itself again adds nothing new.
    this.#summaries.set(atom, undefined);
    const calleeOf = (callee: Atom): Summary | undefined =>
      callee.kind === "function" ? this.#summary(callee, depth + 1) : undefined;
    const flow = functionFlow(this.#unit, atom, (callee) => calleeOf(callee)?.returned);
    const summary = flow === undefined ? undefined : new PathReader(flow, calleeOf).read();
    this.#summaries.set(atom, summary);
    return summary;
  }
}

/** What an event does to the locks: all that may happen. */
type LockEffect =
  | { readonly kind: "nothing" }
  | { readonly kind: "unknown" }
  | {
      readonly kind: "locks";
      /** Each is one possibility, with what it releases and then takes. */
      readonly outcomes: readonly { readonly taken: readonly LockName[]; readonly released: readonly LockName[] }[];
      /** All that is taken on the way, also what is released again. */
      readonly touched: readonly LockName[];
      /** Orders within a called function. */
      readonly orders: readonly string[];
    };

class PathReader {
  readonly #flow: FunctionFlow;
  readonly #calleeOf: (callee: Atom) => Summary | undefined;
  readonly #uses = new Map<string, LockUse>();
  readonly #locks = new Map<LockName, Values>();
  readonly #effects = new Map<FlowEvent, LockEffect>();
  readonly #orders = new Set<string>();
  readonly #exits = new Map<string, Way>();
  readonly #held = new Map<FlowEvent, Set<LockName>>();

  constructor(flow: FunctionFlow, calleeOf: (callee: Atom) => Summary | undefined) {
    this.#flow = flow;
    this.#calleeOf = calleeOf;
  }

  read(): Summary {
    for (const { events } of this.#flow.blocks.values())
      for (const event of events) this.#effects.set(event, this.#effectOf(event));
    const isKnown = [...this.#effects.values()].every(({ kind }) => kind !== "unknown");
    const isComplete = isKnown && this.#explore();
    const ways = isComplete ? [...this.#exits.values()] : [];
    return {
      uses: [...this.#uses.values()],
      returned: this.#flow.returned,
      paths: isComplete ? this.#paths(ways) : undefined,
      ways,
    };
  }

  #paths(ways: readonly Way[]): LockPaths {
    return {
      locks: this.#locks,
      orders: this.#orders,
      kept: new Set(ways.flatMap(({ held }) => held)),
      given: new Set(ways.flatMap(({ given }) => given)),
      sites: [...this.#held]
        .filter(([event]) => this.#effects.get(event)?.kind === "nothing")
        .map(([event, held]) => ({
          what: event.kind === "call" ? event.name : event.address,
          place: event.place,
          held,
        })),
    };
  }

  #effectOf(event: FlowEvent): LockEffect {
    if (event.kind === "access") return { kind: "nothing" };
    if (event.callee !== undefined) return this.#effectOfCallee(event, event.callee);
    const operation = lockOperation(event.name);
    if (operation === undefined) return { kind: "nothing" };
    const [first] = event.arguments.values();
    const lock = operation.only === undefined ? first : undefined;
    this.#use({ operation, lock });
    const names = operation.only === undefined ? this.#namesOf(lock) : [operation.only];
    if (names === undefined) return { kind: "unknown" };
    const outcomes = names.map((name) =>
      operation.act === "release" ? { taken: [], released: [name] } : { taken: [name], released: [] },
    );
    const failed = operation.act === "try" ? [{ taken: [], released: [] }] : [];
    const touched = operation.act === "release" ? [] : names;
    return { kind: "locks", outcomes: [...outcomes, ...failed], touched, orders: [] };
  }

  #effectOfCallee(event: FlowEvent & { kind: "call" }, callee: Atom): LockEffect {
    const summary = this.#calleeOf(callee);
    if (summary === undefined || summary.uses.length === 0) return { kind: "nothing" };
    // The parameters of a specialised copy are others.
    const isCopy = /\.(isra|constprop|part)\b/.test(callee.name);
    const entry = (register: string): Values => (isCopy ? undefined : event.arguments.get(register));
    for (const { operation, lock } of summary.uses) this.#use({ operation, lock: inCaller(lock, entry) });
    if (summary.paths === undefined) return { kind: "unknown" };
    const names = new Map<LockName, LockName>();
    for (const [name, lock] of summary.paths.locks) {
      const here = lock === undefined ? [name] : this.#namesOf(inCaller(lock, entry));
      if (here === undefined || here.length !== 1) return { kind: "unknown" };
      names.set(name, here[0] as LockName);
    }
    const all = (list: readonly LockName[]): LockName[] => list.map((name) => names.get(name) ?? name);
    const outcomes = summary.ways.map(({ held, given }) => ({ taken: all(held), released: all(given) }));
    const taking = summary.uses.filter(({ operation }) => operation.act !== "release");
    const touched = taking.flatMap(({ operation, lock }) =>
      all(operation.only === undefined ? [...(lock?.keys() ?? [])] : [operation.only]),
    );
    const orders = [...summary.paths.orders].map((order) => all(order.split(arrow)).join(arrow));
    return { kind: "locks", outcomes, touched, orders };
  }

  #use(use: LockUse): void {
    const key = `${use.operation.name} ${use.lock === undefined ? "?" : [...use.lock.keys()].sort().join("|")}`;
    if (!this.#uses.has(key)) this.#uses.set(key, use);
    if (use.operation.only !== undefined) this.#locks.set(use.operation.only, undefined);
  }

  #namesOf(lock: Values): LockName[] | undefined {
    for (const [name, value] of lock ?? []) this.#locks.set(name, new Map([[name, value]]));
    return lock === undefined ? undefined : [...lock.keys()];
  }

  /** @returns false when there are too many ways. */
  #explore(): boolean {
    const seen = new Map<string, Set<string>>();
    const queue: { block: string; way: Way }[] = [{ block: this.#flow.entry, way: { held: [], given: [] } }];
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
      const { block: key, way } = item;
      const known = seen.get(key) ?? new Set();
      const state = keyOf(way);
      if (known.has(state)) continue;
      if (known.size >= mostWays) return false;
      seen.set(key, known.add(state));
      const block = this.#flow.blocks.get(key);
      if (block === undefined) continue;
      const ways = block.events.reduce<Way[]>((before, event) => this.#step(before, event), [way]);
      if (ways.length > mostWays) return false;
      for (const after of ways) {
        if (block.returns) this.#exits.set(keyOf(after), after);
        for (const next of block.next) queue.push({ block: next, way: after });
      }
    }
    return true;
  }

  #step(ways: readonly Way[], event: FlowEvent): Way[] {
    const effect = this.#effects.get(event) ?? { kind: "nothing" };
    for (const { held } of ways) {
      const known = this.#held.get(event);
      this.#held.set(event, new Set(known === undefined ? held : held.filter((name) => known.has(name))));
    }
    if (effect.kind !== "locks") return [...ways];
    for (const order of effect.orders) this.#orders.add(order);
    const after = new Map<string, Way>();
    for (const way of ways) {
      for (const first of way.held)
        for (const second of effect.touched) if (first !== second) this.#orders.add(`${first}${arrow}${second}`);
      // What is released is one of the locks that are held, when it may be several.
      const fitting = effect.outcomes.filter(({ released }) => released.every((name) => way.held.includes(name)));
      for (const { taken, released } of fitting.length > 0 ? fitting : effect.outcomes) {
        const next = afterwards(way, taken, released);
        after.set(keyOf(next), next);
      }
    }
    return [...after.values()];
  }
}

/** Between the names of two locks. */
export const arrow = " → ";

function afterwards({ held, given }: Way, taken: readonly LockName[], released: readonly LockName[]): Way {
  const foreign = released.filter((name) => !held.includes(name));
  const kept = held.filter((name) => !released.includes(name));
  return { held: sorted([...kept, ...taken]), given: sorted([...given, ...foreign]) };
}

function sorted(names: readonly LockName[]): LockName[] {
  return [...new Set(names)].sort();
}

function keyOf({ held, given }: Way): string {
  return `${held.join(" ")}|${given.join(" ")}`;
}

/** For a person. @param parameters see {@link describeValue}. */
export function describeLock({ operation, lock }: LockUse, parameters: readonly string[]): string {
  if (operation.only !== undefined) return operation.name;
  const places = [...(lock?.values() ?? [])].map((value) => describeValue(value, parameters));
  return places.length === 0 ? operation.name : `${operation.name} of ${places.sort().join(" or ")}`;
}
