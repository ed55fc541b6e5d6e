import type { NumberLoad, OperandInstruction } from "../arch/operands.ts";
import type { Atom, Reference } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import { type Bits, textOf } from "./line-places.ts";

/** The one call that sees a number. */
export interface NumberUse {
  /** Offset of the call in the function. */
  readonly call: number;
  readonly name: string;
  /** Another unit has the function. */
  readonly isOutside: boolean;
  /** Counted from 0. */
  readonly parameter: number;
  /** Texts whose addresses are the arguments beside it. */
  readonly texts: readonly string[];
}

/** A call is looked for in this many instructions behind a number. */
const reach = 24;

/** A function's numbers on their way to calls. */
export class FunctionCode {
  /** Numbers by the offset of the instruction that completes them. */
  readonly loads = new Map<number, NumberLoad>();
  readonly #atom: Atom;
  readonly #unit: UnitObject;
  readonly #instructions: readonly OperandInstruction[];
  readonly #at = new Map<number, number>();
  readonly #parameters: readonly number[];

  constructor(atom: Atom, unit: UnitObject) {
    this.#atom = atom;
    this.#unit = unit;
    const decoder = unit.arch.operands();
    this.#parameters = decoder.parameters;
    this.#instructions = decoder.decode(atom.bytes, unit.elf.littleEndian);
    this.#instructions.forEach((instruction, at) => {
      this.#at.set(instruction.offset, at);
      const { load } = instruction;
      if (load === undefined || !this.#parameters.includes(load.register)) return;
      if (this.#referencesIn(instruction).length === 0) this.loads.set(instruction.offset, load);
    });
  }

  bitsOf(parts: readonly number[]): Bits {
    const bits = new Map<number, number>();
    for (const part of parts) {
      const { length } = this.#instructions[this.#at.get(part) ?? -1] as OperandInstruction;
      for (let at = 0; at < length; at++) bits.set(part + at, 0xff);
    }
    return bits;
  }

  /** @param offset of a number in {@link loads}; undefined when anything but one call sees it. */
  useOf(offset: number): NumberUse | undefined {
    const start = this.#at.get(offset) as number;
    const { register } = this.loads.get(offset) as NumberLoad;
    let at = start + 1;
    for (let step = 0; step < reach; step++) {
      const instruction = this.#instructions[at];
      if (instruction === undefined) return undefined;
      const call = this.#callAt(instruction);
      if (call !== undefined) return this.#use(call, at, start, this.#parameters.indexOf(register));
      const isTouched =
        instruction.touches.includes(register) ||
        instruction.target === register ||
        instruction.load?.register === register;
      if (isTouched || instruction.flow === "end") return undefined;
      const next = instruction.flow === "next" ? at + 1 : this.#at.get(instruction.flow.jump);
      if (next === undefined) return undefined;
      at = next;
    }
    return undefined;
  }

  #use({ target }: Reference, at: number, start: number, parameter: number): NumberUse | undefined {
    if (target.kind === "absolute" || target.kind === "entry") return undefined;
    const isOutside = target.kind === "external";
    const texts = [parameter - 1, parameter + 1].flatMap((beside) => this.#textIn(beside, at, start) ?? []);
    const call = (this.#instructions[at] as OperandInstruction).offset;
    return { call, name: isOutside ? target.name : target.atom.name, isOutside, parameter, texts };
  }

  /** The text whose address an argument is: the last instruction before the call that makes it. */
  #textIn(parameter: number, call: number, load: number): string | undefined {
    const register = this.#parameters[parameter];
    if (register === undefined) return undefined;
    for (const from of load < call && call - load < reach ? [call] : [call, load]) {
      for (let at = from - 1; at >= Math.max(0, from - reach); at--) {
        const instruction = this.#instructions[at] as OperandInstruction;
        if (instruction.flow !== "next") break;
        const text = this.#addressIn(instruction, register);
        if (text !== undefined) return text;
        if (instruction.touches.includes(register) || instruction.target === register) return undefined;
        if (instruction.load?.register === register) return undefined;
      }
    }
    return undefined;
  }

  #addressIn(instruction: OperandInstruction, register: number): string | undefined {
    const { target, load } = instruction;
    if ((target ?? load?.register) !== register) return undefined;
    for (const reference of this.#referencesIn(instruction)) {
      const text = textOf(reference.target);
      if (text !== undefined) return text;
    }
    return undefined;
  }

  #callAt(instruction: OperandInstruction): Reference | undefined {
    if (instruction.isConditional === true) return undefined;
    return this.#referencesIn(instruction).find(
      (reference) =>
        this.#unit.arch.isBranch(this.#atom, reference) &&
        !(reference.target.kind === "atom" && reference.target.atom === this.#atom),
    );
  }

  #referencesIn({ offset, length }: OperandInstruction): Reference[] {
    return this.#atom.references.filter(
      (reference) => reference.offset >= offset && reference.offset < offset + length,
    );
  }
}
