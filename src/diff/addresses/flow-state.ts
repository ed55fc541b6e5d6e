/** Numbers of the addresses that something may hold; undefined for none. */
export type AddressSet = ReadonlySet<number> | undefined;

/** What registers may hold, by number. */
export type Registers = Map<number, AddressSet>;

/** A set with all of both. */
export function join(one: Set<number> | undefined, other: AddressSet): Set<number> | undefined {
  if (other === undefined || other.size === 0) return one;
  return new Set([...(one ?? []), ...other]);
}

/** Adds in place; true when something was new. */
export function joinInto(set: Set<number>, others: AddressSet): boolean {
  const before = set.size;
  for (const other of others ?? []) set.add(other);
  return set.size > before;
}

/** Which carried addresses may be in registers and on the stack at a place in the code. */
export class State {
  readonly registers: Registers;
  /** By displacement from the stack pointer, which functions do not move between their prologue and epilogue. */
  readonly stack: Map<number, AddressSet>;
  /** Pushed as arguments of the next call. */
  readonly pushed: Set<number>;

  constructor(
    registers: Registers = new Map(),
    stack: Map<number, AddressSet> = new Map(),
    pushed: AddressSet = undefined,
  ) {
    this.registers = new Map(registers);
    this.stack = new Map(stack);
    this.pushed = new Set(pushed);
  }

  copy(): State {
    return new State(this.registers, this.stack, this.pushed);
  }

  /** Joins another state into this one; true when it grew. */
  absorb(other: State): boolean {
    const grewRegisters = absorbMap(this.registers, other.registers);
    const grewStack = absorbMap(this.stack, other.stack);
    return joinInto(this.pushed, other.pushed) || grewRegisters || grewStack;
  }

  set(register: number, addresses: AddressSet): void {
    if (addresses === undefined || addresses.size === 0) this.registers.delete(register);
    else this.registers.set(register, addresses);
  }

  add(register: number, addresses: AddressSet): void {
    const known = this.registers.get(register);
    this.set(register, known === undefined ? addresses : join(new Set(known), addresses));
  }

  afterCall(clobbered: readonly number[]): State {
    const after = new State(this.registers, this.stack);
    for (const register of clobbered) after.registers.delete(register);
    return after;
  }
}

function absorbMap(into: Map<number, AddressSet>, from: ReadonlyMap<number, AddressSet>): boolean {
  let grew = false;
  for (const [key, addresses] of from) {
    const known = into.get(key);
    const all = join(known === undefined ? undefined : new Set(known), addresses);
    if (all === undefined || all.size === (known?.size ?? 0)) continue;
    into.set(key, all);
    grew = true;
  }
  return grew;
}
