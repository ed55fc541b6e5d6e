import type { FlowInstruction, MemoryOperand, Operand } from "../../../diff/arch/data-flow.ts";
import type { Atom, Reference } from "../../../diff/atoms.ts";
import { baseName, coldParent } from "../../../diff/names.ts";
import type { UnitObject } from "../../../diff/unit-object.ts";
import { either, inCaller, loaded, moved, one, type Values } from "./address-values.ts";

/** A place in the code. */
export interface Place {
  readonly atom: Atom;
  readonly offset: number;
}

/** Something that happens on the way through a function. */
export type FlowEvent =
  | {
      readonly kind: "call";
      readonly place: Place;
      /** Without numbers of the compiler. */
      readonly name: string;
      /** The function of the same unit that is called. */
      readonly callee: Atom | undefined;
      /** What the registers hold. */
      readonly arguments: ReadonlyMap<string, Values>;
    }
  | { readonly kind: "access"; readonly place: Place; readonly address: string };

/** Code that runs from its first instruction to its last. */
export interface Block {
  readonly events: readonly FlowEvent[];
  /** Blocks that may come next. */
  readonly next: readonly string[];
  /** The function returns, or jumps to another one that will. */
  readonly returns: boolean;
}

/** The ways through a function and its cold part. */
export interface FunctionFlow {
  readonly entry: string;
  readonly blocks: ReadonlyMap<string, Block>;
  /** What it returns, as far as that is an address. */
  readonly returned: Values;
}

/** What a function of the same unit returns, in terms of its own parameters; undefined where it was not looked at. */
export type ReturnOf = (callee: Atom) => FunctionFlow["returned"];

/** Functions that never return; the code behind a call belongs to something else. */
const noReturn =
  /^(panic|__stack_chk_fail|do_exit|do_group_exit|make_task_dead|kthread_exit|kthread_complete_and_exit|__module_put_and_kthread_exit|module_put_and_kthread_exit|fortify_panic|__fortify_panic|usercopy_abort|nmi_panic_self_stop|__reiserfs_panic|btrfs_assertfail|ex_handler_msr_mce|machine_real_restart|rewind_stack_and_make_dead|__ubsan_handle_builtin_unreachable|stop_this_cpu|cpu_startup_entry|rest_init)$/;

/** The return and the indirect jumps and calls of a kernel that is built against branch target injection (arch/x86/lib/retpoline.S). */
const returnThunk = /^(__x86_return_thunk|srso_\w+_return_thunk|retbleed_return_thunk|its_return_thunk)$/;
const indirectThunk = /^__x86_indirect_(\w+_)?thunk_/;

interface State {
  readonly registers: Map<string, Values>;
  /** By distance from the stack pointer at the entry. */
  readonly stack: Map<number, Values>;
}

/**
 * Follows a function's code, and the addresses in its registers.
 * @returns undefined where kmend cannot: another processor, or a function that is too large for it.
 */
export function functionFlow(unit: UnitObject, atom: Atom, returnOf: ReturnOf): FunctionFlow | undefined {
  return unit.arch.dataFlow === undefined ? undefined : new FlowReader(unit, atom, returnOf).read();
}

/** Steps from block to block after which the analysis gives up. */
const mostSteps = 20_000;

interface Code {
  readonly instructions: readonly FlowInstruction[];
  readonly indexOf: ReadonlyMap<number, number>;
}

class FlowReader {
  readonly #unit: UnitObject;
  readonly #atom: Atom;
  readonly #conventions: NonNullable<UnitObject["arch"]["dataFlow"]>["calls"];
  readonly #code = new Map<Atom, Code>();
  readonly #leaders = new Map<Atom, Set<number>>();
  readonly #jumpTargets = new Map<Atom, Map<number, Place[]>>();
  readonly #warnings = new Map<Atom, Set<number>>();
  readonly #references = new Map<Atom, ReadonlyMap<number, Reference>>();
  readonly #names = new Map<Atom, number>();
  readonly #in = new Map<string, { place: Place; state: State }>();
  readonly #blocks = new Map<string, Block>();
  readonly #queue: string[] = [];

  readonly #returnOf: ReturnOf;
  /** Joined over all returns; undefined before the first. */
  #returned: { readonly values: Values } | undefined;

  constructor(unit: UnitObject, atom: Atom, returnOf: ReturnOf) {
    const { dataFlow } = unit.arch;
    if (dataFlow === undefined) throw new Error(`no data flow on ${unit.arch.name}`);
    this.#unit = unit;
    this.#atom = atom;
    this.#returnOf = returnOf;
    this.#conventions = dataFlow.calls;
    this.#readTables();
  }

  read(): FunctionFlow | undefined {
    const start: Place = { atom: this.#atom, offset: entryOf(this.#atom) };
    const { stackPointer } = this.#conventions;
    const registers = new Map<string, Values>([[stackPointer, one({ kind: "stack" })]]);
    this.#reach(start, { registers, stack: new Map() });
    let steps = 0;
    for (let key = this.#queue.pop(); key !== undefined; key = this.#queue.pop()) {
      if (++steps > mostSteps) return undefined;
      this.#walk(key);
    }
    return { entry: this.#key(start), blocks: this.#blocks, returned: this.#returned?.values };
  }

  #readTables(): void {
    for (const { place, references } of this.#unit.tables.get("__jump_table")?.entries ?? []) {
      const target = references[1]?.target;
      if (place === undefined || target?.kind !== "atom") continue;
      const known = this.#jumpTargets.get(place.atom) ?? new Map<number, Place[]>();
      known.set(place.offset, [...(known.get(place.offset) ?? []), { atom: target.atom, offset: target.addend }]);
      this.#jumpTargets.set(place.atom, known);
    }
    // struct bug_entry ends with its flags, of which the first says that execution goes on (include/asm-generic/bug.h).
    for (const { place, bytes } of this.#unit.tables.get("__bug_table")?.entries ?? []) {
      if (place === undefined || ((bytes[bytes.length - 2] ?? 0) & 1) === 0) continue;
      this.#warnings.set(place.atom, (this.#warnings.get(place.atom) ?? new Set()).add(place.offset));
    }
  }

  #codeOf(atom: Atom): Code {
    let code = this.#code.get(atom);
    if (code === undefined) {
      const start = entryOf(atom);
      const decoded = this.#unit.arch.dataFlow?.read(atom.bytes, start) ?? [];
      code = { instructions: decoded, indexOf: new Map(decoded.map(({ offset }, index) => [offset, index])) };
      this.#code.set(atom, code);
      this.#references.set(atom, new Map(atom.references.map((reference) => [reference.offset, reference])));
      const leaders = new Set<number>();
      for (const { target } of decoded) if (target !== undefined) leaders.add(target.offset);
      for (const places of this.#jumpTargets.get(atom)?.values() ?? [])
        for (const place of places) if (place.atom === atom) leaders.add(place.offset);
      this.#leaders.set(atom, leaders);
    }
    return code;
  }

  #key({ atom, offset }: Place): string {
    let number = this.#names.get(atom);
    if (number === undefined) {
      number = this.#names.size;
      this.#names.set(atom, number);
    }
    return `${number}:${offset}`;
  }

  /** Adds what is known at a place. */
  #reach(place: Place, state: State): string {
    const key = this.#key(place);
    const known = this.#in.get(key);
    if (known === undefined) {
      this.#in.set(key, { place, state: copied(state) });
      this.#queue.push(key);
    } else if (this.#join(known.state, state)) this.#queue.push(key);
    return key;
  }

  /** @returns whether anything is new in `into`. */
  #join(into: State, from: State): boolean {
    let isNew = false;
    for (const name of new Set([...into.registers.keys(), ...from.registers.keys()])) {
      const [old, other] = [this.#register(into, name), this.#register(from, name)];
      const joined = either(old, other);
      if (sameValues(old, joined)) continue;
      into.registers.set(name, joined);
      isNew = true;
    }
    for (const [slot, old] of into.stack) {
      const joined = either(old, from.stack.get(slot));
      if (sameValues(old, joined)) continue;
      if (joined === undefined) into.stack.delete(slot);
      else into.stack.set(slot, joined);
      isNew = true;
    }
    return isNew;
  }

  #register({ registers }: State, name: string): Values {
    return registers.has(name) ? registers.get(name) : one({ kind: "entry", register: name });
  }

  #walk(key: string): void {
    const { place, state: atEntry } = this.#in.get(key) as { place: Place; state: State };
    const { atom } = place;
    const code = this.#codeOf(atom);
    const state = copied(atEntry);
    const events: FlowEvent[] = [];
    const next: string[] = [];
    let returns = false;
    const start = code.indexOf.get(place.offset);
    for (let at = start ?? code.instructions.length; ; at++) {
      const instruction = code.instructions[at];
      if (instruction === undefined || instruction.flow === "end") break;
      const { offset, flow } = instruction;
      if (at !== start && this.#leaders.get(atom)?.has(offset) === true) {
        next.push(this.#reach({ atom, offset }, state));
        break;
      }
      const here: Place = { atom, offset };
      this.#access(here, instruction, state, events);
      for (const target of this.#jumpTargets.get(atom)?.get(offset) ?? []) next.push(this.#reach(target, state));
      if (flow === "return" || flow === "indirect jump") {
        returns = true;
        break;
      }
      if (flow === "trap" && this.#warnings.get(atom)?.has(offset) !== true) break;
      if (flow === "jump" || flow === "branch") {
        const target = this.#destination(atom, instruction);
        const isStatic = this.#jumpTargets.get(atom)?.has(offset) === true;
        if (typeof target === "object" && this.#isPart(target.atom)) {
          next.push(this.#reach(target, state));
        } else if (typeof target === "string" && returnThunk.test(target)) returns = true;
        else {
          this.#call(here, target, state, events);
          returns = true;
        }
        if (flow === "branch" || isStatic) {
          next.push(this.#reach({ atom, offset: offset + instruction.length }, state));
        }
        break;
      }
      if (flow === "call" || flow === "indirect call") {
        const target = flow === "call" ? this.#destination(atom, instruction) : undefined;
        this.#call(here, target, state, events);
        if (typeof target === "string" && noReturn.test(target)) break;
        continue;
      }
      this.#apply(atom, instruction, state);
    }
    if (returns) {
      const value = this.#register(state, this.#conventions.result);
      this.#returned = { values: this.#returned === undefined ? value : either(this.#returned.values, value) };
    }
    this.#blocks.set(key, { events, next, returns });
  }

  /** True for the function itself and its cold part. */
  #isPart(atom: Atom): boolean {
    return (
      atom === this.#atom || coldParent(atom.name) === this.#atom.name || coldParent(this.#atom.name) === atom.name
    );
  }

  /** Where a direct jump or call leads: a place of this unit, or a name. */
  #destination(atom: Atom, { target }: FlowInstruction): Place | string | undefined {
    if (target === undefined) return undefined;
    const reference = this.#references.get(atom)?.get(target.field);
    if (reference === undefined) return { atom, offset: target.offset };
    const to = reference.target;
    if (to.kind === "external") return to.name;
    return to.kind === "atom" ? { atom: to.atom, offset: to.addend + target.width } : undefined;
  }

  #call(place: Place, target: Place | string | undefined, state: State, events: FlowEvent[]): void {
    const { parameters, scratch, result } = this.#conventions;
    const callee = typeof target === "object" ? target.atom : undefined;
    const name = typeof target === "string" ? target : callee === undefined ? "" : baseName(callee.name);
    if (name === "__fentry__") return;
    const held = new Map(parameters.map((register) => [register, this.#register(state, register)]));
    const isIndirect = name === "" || indirectThunk.test(name);
    if (!isIndirect) {
      events.push({ kind: "call", place, name, callee, arguments: held });
    }
    for (const register of scratch) state.registers.set(register, undefined);
    const returned = callee === undefined ? undefined : this.#returnOf(callee);
    const known = inCaller(returned, (register) => held.get(register));
    if (!isIndirect) state.registers.set(result, known ?? one({ kind: "result", of: name }));
  }

  #access(place: Place, { memory, effect }: FlowInstruction, state: State, events: FlowEvent[]): void {
    if (memory === undefined || effect?.kind === "address") return;
    const addresses = this.#address(place.atom, memory, state);
    if (addresses === undefined || addresses.size !== 1) return;
    for (const [key, { root }] of addresses)
      if (root.kind !== "stack" && root.kind !== "number") events.push({ kind: "access", place, address: key });
  }

  #address(atom: Atom, { base, hasIndex, displacement, place, bias, isPerCpu }: MemoryOperand, state: State): Values {
    if (hasIndex) return undefined;
    const named = place === undefined ? undefined : this.#symbol(atom, place, bias);
    if (named !== undefined) return base === undefined ? (isPerCpu ? perCpu(named) : named) : undefined;
    if (base === undefined || isPerCpu) return undefined;
    return moved(this.#register(state, base), displacement);
  }

  /** What a relocation at a place means. */
  #symbol(atom: Atom, place: number, bias: number): Values {
    const target = this.#references.get(atom)?.get(place)?.target;
    if (target === undefined || target.kind === "absolute" || target.kind === "entry") return undefined;
    const name = target.kind === "external" ? target.name : target.atom.base;
    return one({ kind: "symbol", name }, target.addend + bias);
  }

  #value(atom: Atom, operand: Operand, state: State): Values {
    if (operand.kind === "register") return this.#register(state, operand.register);
    if (operand.kind === "number") {
      const named = operand.place === undefined ? undefined : this.#symbol(atom, operand.place, 0);
      return named ?? one({ kind: "number" }, operand.value);
    }
    if (operand.width !== 8) return undefined;
    const addresses = this.#address(atom, operand, state);
    const slot = stackSlot(addresses);
    return slot === undefined ? loaded(addresses) : state.stack.get(slot);
  }

  #apply(atom: Atom, { effect, writes }: FlowInstruction, state: State): void {
    const { stackPointer } = this.#conventions;
    const pointer = this.#register(state, stackPointer);
    const set = (register: string, values: Values): void => void state.registers.set(register, values);
    switch (effect?.kind) {
      case "move": {
        const value = this.#value(atom, effect.from, state);
        set(effect.to, effect.isConditional ? either(this.#register(state, effect.to), value) : value);
        return;
      }
      case "address":
        set(effect.to, this.#address(atom, effect.of, state));
        return;
      case "add":
        set(effect.to, moved(this.#register(state, effect.to), effect.value));
        return;
      case "store": {
        const slot = stackSlot(this.#address(atom, effect.to, state));
        if (slot !== undefined) {
          state.stack.set(slot, effect.to.width === 8 ? this.#value(atom, effect.from, state) : undefined);
        }
        return;
      }
      case "push": {
        const value = this.#value(atom, effect.from, state);
        const below = moved(pointer, -8);
        set(stackPointer, below);
        const slot = stackSlot(below);
        if (slot !== undefined) state.stack.set(slot, value);
        return;
      }
      case "pop": {
        const slot = stackSlot(pointer);
        if (effect.to !== undefined) set(effect.to, slot === undefined ? undefined : state.stack.get(slot));
        set(stackPointer, moved(pointer, 8));
        return;
      }
      default:
        for (const register of writes) if (register !== stackPointer) set(register, undefined);
    }
  }
}

function copied({ registers, stack }: State): State {
  return { registers: new Map(registers), stack: new Map(stack) };
}

function sameValues(first: Values, second: Values): boolean {
  if (first === undefined || second === undefined) return first === second;
  return first.size === second.size && [...first.keys()].every((key) => second.has(key));
}

/** A variable of this processor: it is not the variable that the same address means elsewhere. */
function perCpu(values: Values): Values {
  const [value] = values?.values() ?? [];
  return value?.root.kind === "symbol"
    ? one({ kind: "symbol", name: `this processor's ${value.root.name}` }, value.offset)
    : undefined;
}

function stackSlot(addresses: Values): number | undefined {
  const [address] = addresses?.values() ?? [];
  return addresses?.size === 1 && address?.root.kind === "stack" ? address.offset : undefined;
}

/** Offset in an atom of the function's first instruction, behind its prefix. */
export function entryOf(atom: Atom): number {
  return atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
}
