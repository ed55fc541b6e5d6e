import type { CallConvention, Effect } from "../arch/effects.ts";
import type { Atom, Reference } from "../atoms.ts";
import { coldParent } from "../names.ts";
import {
  type Code,
  entryOf,
  indirectThunk,
  isEntry,
  isParavirt,
  type Place,
  readCode,
  returnThunk,
  sidewaysOf,
} from "./flow-code.ts";
import { type AddressSet, join, joinInto, type Registers, State } from "./flow-state.ts";
import type { AddressEnd, FlowContext, FlowUnit, TakenAddress } from "./flow-types.ts";

/** Bytes above an address taken of the stack that still may belong to the same object. */
const largestStackObject = 1024;

/**
 * Follows the address of everything that a unit's carried code takes the address of, through registers, the stack, calls within the unit, and what is
 * read from carried data, to where it may stay: memory, a callee, a caller. Whatever is not understood counts as kept.
 * Code that is not in a unit's carried part is looked into as well, when an address is passed to it.
 */
export function followAddresses(flowUnit: FlowUnit, context: FlowContext): AddressEnd[] {
  const decoder = flowUnit.unit.arch.effects?.();
  if (decoder === undefined) return addressesTaken(flowUnit);
  return new Follower(flowUnit, context, decoder.convention, (code) => decoder.decode(code)).run();
}

/** Where code cannot be followed: every address of a function or a variable that carried code or data holds. */
function addressesTaken({ unit, carried, route }: FlowUnit): AddressEnd[] {
  return [...carried].flatMap((user) =>
    user.references.flatMap((reference): AddressEnd[] => {
      const way = route(user, reference);
      if (way.to !== "inside" || way.atom === user || unit.arch.isBranch(user, reference)) return [];
      if (way.atom.kind === "string" || way.atom.kind === "constant" || way.atom.kind === "rodata") return [];
      const address = { target: way.atom, user, offset: reference.offset };
      return [{ address, end: "stored", callee: undefined }];
    }),
  );
}

class Follower {
  readonly #flow: FlowUnit;
  readonly #context: FlowContext;
  readonly #convention: CallConvention;
  readonly #decode: (code: Uint8Array) => readonly Effect[];
  readonly #codes = new Map<Atom, Code>();
  readonly #sideways: ReadonlyMap<Atom, ReadonlyMap<number, readonly Place[]>>;
  readonly #queue: { readonly code: Code; readonly index: number }[] = [];
  readonly #addresses: TakenAddress[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #atomNumbers = new Map<Atom, number>();
  readonly #ends = new Map<string, AddressEnd>();
  /** Places behind the calls of each function of the unit. */
  readonly #returnPlaces = new Map<Atom, { readonly code: Code; readonly index: number }[]>();
  readonly #results = new Map<Atom, Set<number>>();

  constructor(
    flow: FlowUnit,
    context: FlowContext,
    convention: CallConvention,
    decode: (code: Uint8Array) => readonly Effect[],
  ) {
    this.#flow = flow;
    this.#context = context;
    this.#convention = convention;
    this.#decode = decode;
    this.#sideways = sidewaysOf(flow.unit);
  }

  run(): AddressEnd[] {
    for (const atom of this.#flow.carried) {
      if (atom.kind !== "function") continue;
      const code = this.#codeOf(atom);
      this.#enter({ atom, offset: entryOf(atom) }, new State());
      this.#drain();
      // What only tables lead to, and nobody knows from where.
      for (let index = 0; index < code.effects.length; index++) {
        if (code.states[index] !== undefined) continue;
        this.#arrive(code, index, new State());
        this.#drain();
      }
    }
    return [...this.#ends.values()];
  }

  #drain(): void {
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) this.#step(next.code, next.index);
  }

  #codeOf(atom: Atom): Code {
    let code = this.#codes.get(atom);
    if (code === undefined) {
      code = readCode(atom, this.#sideways.get(atom) ?? new Map(), this.#decode);
      this.#codes.set(atom, code);
    }
    return code;
  }

  #arrive(code: Code, index: number, state: State): void {
    if (index >= code.effects.length) return;
    const known = code.states[index];
    if (known === undefined) code.states[index] = state.copy();
    else if (!known.absorb(state)) return;
    this.#queue.push({ code, index });
  }

  #enter({ atom, offset }: Place, state: State): void {
    const code = this.#codeOf(atom);
    const index = code.indexAt.get(offset);
    if (index !== undefined) this.#arrive(code, index, state);
  }

  #step(code: Code, index: number): void {
    const effect = code.effects[index] as Effect;
    const before = code.states[index] as State;
    for (const place of code.sideways.get(effect.offset) ?? []) this.#enter(place, before);
    const taken = new Set<number>();
    let isAccess: Set<number> | undefined;
    let branch: Reference | undefined;
    for (const reference of code.references[index] ?? []) {
      if (this.#flow.unit.arch.isBranch(code.atom, reference) || effect.flow.kind === "branch") {
        branch = reference;
        continue;
      }
      const target = this.#carriedTarget(code.atom, reference);
      if (target === undefined) continue;
      const isOperand = reference.offset - effect.offset === effect.displacement;
      if (isOperand && effect.memory !== "address" && effect.memory !== "none") {
        const at = effect.isIndexed ? undefined : this.#placeIn(code.atom, reference, target);
        isAccess = join(isAccess, this.#contentOf(target, code.atom, effect.offset, at));
      } else taken.add(this.#address(target, code.atom, effect.offset));
    }
    const after = this.#apply(code, effect, before, taken, isAccess);
    this.#pass(code, index, effect, after, branch);
  }

  /**
   * What of the patch module a reference leads to. A place in the middle of a function does not count: nobody but the function jumps there, and as a
   * number (`_THIS_IP_`, include/linux/instruction_pointer.h) it only serves reports.
   */
  #carriedTarget(user: Atom, reference: Reference): Atom | undefined {
    if (!this.#flow.carried.has(user)) return undefined;
    const { target } = reference;
    if (target.kind === "atom" && target.atom.kind === "function") {
      const { arch } = this.#flow.unit;
      const isDistance = user.kind === "function" && arch.isPcRelative(reference.type);
      const tail = isDistance ? arch.instructionTail(user.bytes, reference.offset, reference.type) : 0;
      if (target.addend + tail !== entryOf(target.atom)) return undefined;
    }
    const route = this.#flow.route(user, reference);
    if (route.to === "inside") return route.atom;
    return route.to === "external" ? this.#context.carriedNamed(route.name) : undefined;
  }

  #placeIn(user: Atom, reference: Reference, target: Atom): number | undefined {
    const { arch } = this.#flow.unit;
    const { addend } = reference.target;
    const isAtom = reference.target.kind === "atom" && reference.target.atom === target;
    if (!isAtom) return undefined;
    return arch.isPcRelative(reference.type)
      ? addend + arch.instructionTail(user.bytes, reference.offset, reference.type)
      : addend;
  }

  #address(target: Atom, user: Atom, offset: number): number {
    const key = `${this.#atomNumber(target)} ${this.#atomNumber(user)} ${offset}`;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#addresses.length;
      this.#numbers.set(key, number);
      this.#addresses.push({ target, user, offset });
    }
    return number;
  }

  #atomNumber(atom: Atom): number {
    let number = this.#atomNumbers.get(atom);
    if (number === undefined) {
      number = this.#atomNumbers.size;
      this.#atomNumbers.set(atom, number);
    }
    return number;
  }

  /** Addresses that carried data holds, or one place of it. They count as taken where they are read. */
  #contentOf(data: Atom, user: Atom, offset: number, at: number | undefined): Set<number> {
    const found = new Set<number>();
    if (data.kind === "function" || data.kind === "code") return found;
    for (const reference of data.references) {
      if (at !== undefined && (reference.offset >= at + 8 || reference.offset + 8 <= at)) continue;
      const target = this.#carriedTarget(data, reference);
      if (target !== undefined) found.add(this.#address(target, user, offset));
    }
    return found;
  }

  /** What may be read where an address points to. */
  #behind(addresses: AddressSet, user: Atom, offset: number): Set<number> | undefined {
    let found: Set<number> | undefined;
    for (const number of addresses ?? []) {
      const { target } = this.#addresses[number] as TakenAddress;
      found = join(found, this.#contentOf(target, user, offset, undefined));
    }
    return found;
  }

  #apply(
    code: Code,
    effect: Effect,
    before: State,
    taken: ReadonlySet<number>,
    content: Set<number> | undefined,
  ): State {
    const after = before.copy();
    let values = join(undefined, taken);
    for (const register of effect.values) values = join(values, before.registers.get(register));
    let loaded = content;
    if (effect.memory === "read" || effect.memory === "both") {
      for (const register of effect.bases)
        loaded = join(loaded, this.#behind(before.registers.get(register), code.atom, effect.offset));
      if (effect.stackSlot !== undefined) loaded = join(loaded, before.stack.get(effect.stackSlot));
    }
    if (effect.memory === "address")
      for (const register of effect.bases) values = join(values, before.registers.get(register));
    values = join(values, loaded);
    if (effect.isPush) joinInto(after.pushed, values);
    else if (effect.memory === "write" || effect.memory === "both") this.#store(code, effect, after, values);
    for (const register of effect.sets) after.set(register, values);
    for (const register of effect.changes) after.add(register, values);
    return after;
  }

  #store(code: Code, { stackSlot }: Effect, after: State, values: AddressSet): void {
    if (stackSlot !== undefined) {
      const isObject = code.stackObjects.some((start) => start <= stackSlot && stackSlot - start < largestStackObject);
      if (isObject) this.#end(values, "on-stack");
      after.stack.set(stackSlot, new Set(values ?? []));
    } else this.#end(values, "stored");
  }

  #pass(code: Code, index: number, effect: Effect, after: State, branch: Reference | undefined): void {
    const { flow } = effect;
    const target = branch === undefined ? undefined : this.#targetOf(code, branch);
    switch (flow.kind) {
      case "next":
        this.#arrive(code, index + 1, after);
        return;
      case "branch":
      case "jump":
        if (target === undefined) this.#enter({ atom: code.atom, offset: flow.target }, after);
        else if (target.kind === "place" && !isEntry(target.place, code.atom)) this.#enter(target.place, after);
        else if (target.kind === "name" && target.name === undefined && code.labels.length > 0)
          for (const label of code.labels) this.#enter(label, after);
        else {
          this.#call(code, undefined, target, after, effect.offset);
          if (target.kind === "place") this.#returnsOf(target.place.atom, code.atom);
        }
        if (flow.kind === "branch") this.#arrive(code, index + 1, after);
        return;
      case "call":
        this.#arrive(code, index + 1, this.#call(code, index + 1, target ?? throughPointer, after, effect.offset));
        return;
      case "indirect-call":
        // Operations of the paravirtualised kernel are called through a table; they get and keep no addresses of the caller's.
        if (code.references[index]?.some(isParavirt) === true) this.#arrive(code, index + 1, after);
        else this.#arrive(code, index + 1, this.#call(code, index + 1, throughPointer, after, effect.offset));
        return;
      case "indirect-jump":
        if (code.labels.length === 0) this.#call(code, undefined, throughPointer, after, effect.offset);
        for (const label of code.labels) this.#enter(label, after);
        return;
      case "return":
        this.#return(code.atom, after);
    }
  }

  #targetOf(code: Code, reference: Reference): CallTarget {
    const { target } = reference;
    if (target.kind === "external") {
      if (returnThunk.test(target.name)) return { kind: "return" };
      if (indirectThunk.test(target.name)) return { kind: "name", name: undefined };
      return { kind: "name", name: target.name };
    }
    if (target.kind === "absolute" || target.kind === "entry") return { kind: "name", name: undefined };
    const { arch } = this.#flow.unit;
    const bias = arch.instructionTail(code.atom.bytes, reference.offset, reference.type);
    const tail = arch.isShort(reference.type) ? 1 : bias;
    return { kind: "place", place: { atom: target.atom, offset: target.addend + tail } };
  }

  /** @param next the instruction behind the call; undefined for a jump that does not come back. Returns the state there. */
  #call(code: Code, next: number | undefined, target: CallTarget, state: State, at: number): State {
    if (target.kind === "return") {
      this.#return(code.atom, state);
      return state;
    }
    const { parameters, clobbered, result } = this.#convention;
    if (target.kind === "place") {
      const registers: Registers = new Map();
      for (const register of parameters) {
        const passed = state.registers.get(register);
        if (passed !== undefined) registers.set(register, passed);
      }
      // Nothing is known of how it finds what is on the stack.
      this.#end(state.pushed, "passed", target.place.atom.name);
      if (registers.size > 0) this.#enter(target.place, new State(registers));
      const after = state.afterCall(clobbered);
      if (next !== undefined) {
        const places = this.#returnPlaces.get(target.place.atom) ?? [];
        if (!places.some((place) => place.code === code && place.index === next)) places.push({ code, index: next });
        this.#returnPlaces.set(target.place.atom, places);
        after.set(result, this.#results.get(target.place.atom));
      }
      return after;
    }
    const { name } = target;
    const treatment = name === undefined ? undefined : this.#context.treatmentOf(name);
    if (treatment?.preserves === true) return state;
    let returned: Set<number> | undefined;
    const give = (addresses: AddressSet, position: number): void => {
      if (addresses === undefined || addresses.size === 0) return;
      if (treatment === undefined || treatment.keeps(position)) this.#end(addresses, "passed", name);
      if (treatment?.copies === true) this.#end(this.#behind(addresses, code.atom, at), "stored");
      if (treatment?.returns(position) === true) returned = join(returned, addresses);
    };
    parameters.forEach((register, position) => {
      give(state.registers.get(register), position);
    });
    give(state.pushed, Number.POSITIVE_INFINITY);
    const after = state.afterCall(clobbered);
    after.set(result, returned);
    if (next === undefined && returned !== undefined) this.#return(code.atom, after);
    return after;
  }

  /** A function ends: what it returns goes to its callers. */
  #return(atom: Atom, state: State): void {
    const addresses = state.registers.get(this.#convention.result);
    if (addresses === undefined || addresses.size === 0) return;
    const owner = this.#ownerOf(atom);
    const known = this.#results.get(owner) ?? new Set<number>();
    this.#results.set(owner, known);
    if (!joinInto(known, addresses)) return;
    if (this.#flow.hasOtherCallers(owner)) this.#end(addresses, "returned");
    for (const { code, index } of this.#returnPlaces.get(owner) ?? []) {
      this.#arrive(code, index, new State(new Map([[this.#convention.result, known]])));
    }
    for (const jumper of this.#jumpers.get(owner) ?? []) {
      this.#return(jumper, new State(new Map([[this.#convention.result, known]])));
    }
  }

  /** Functions that end with a jump to another. */
  readonly #jumpers = new Map<Atom, Set<Atom>>();

  #returnsOf(callee: Atom, jumper: Atom): void {
    const jumpers = this.#jumpers.get(callee) ?? new Set();
    this.#jumpers.set(callee, jumpers.add(jumper));
    const known = this.#results.get(callee);
    if (known !== undefined) this.#return(jumper, new State(new Map([[this.#convention.result, known]])));
  }

  #ownerOf(atom: Atom): Atom {
    const parent = coldParent(atom.name);
    if (parent === undefined) return atom;
    return this.#flow.unit.atoms.find(({ kind, name }) => kind === "function" && name === parent) ?? atom;
  }

  #end(addresses: AddressSet, end: AddressEnd["end"], callee?: string): void {
    for (const number of addresses ?? []) {
      const address = this.#addresses[number] as TakenAddress;
      const key = `${number} ${end} ${callee ?? ""}`;
      if (!this.#ends.has(key)) this.#ends.set(key, { address, end, callee });
    }
  }
}

type CallTarget =
  | { readonly kind: "place"; readonly place: Place }
  | { readonly kind: "name"; readonly name: string | undefined }
  | { readonly kind: "return" };

const throughPointer: CallTarget = { kind: "name", name: undefined };
