import type { NumberLoad, OperandInstruction } from "../arch/operands.ts";
import type { Atom, Reference } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import { type Bits, isFileName, isMessageFunction, textOf } from "./line-places.ts";
import { steadyText } from "./steady-text.ts";

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
  /**
   * The last of the arguments before it that is the format of a message, and how many arguments the number is behind it. Undefined in a function that
   * has no name of a source file to write before a line.
   */
  readonly format: { readonly text: string; readonly distance: number } | undefined;
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
  readonly #scratch: readonly number[];
  readonly #steady = new Map<number, { readonly text: string | undefined }>();

  constructor(atom: Atom, unit: UnitObject) {
    this.#atom = atom;
    this.#unit = unit;
    const decoder = unit.arch.operands();
    this.#parameters = decoder.parameters;
    this.#scratch = decoder.scratch;
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
    const name = isOutside ? target.name : target.atom.name;
    const format = isMessageFunction(name) && this.#namesFile() ? this.#formatBefore(parameter, at, start) : undefined;
    return { call, name, isOutside, parameter, texts, format };
  }

  #namesFile(): boolean {
    return this.#atom.references.some(({ target }) => isFileName(textOf(target) ?? ""));
  }

  #formatBefore(parameter: number, call: number, load: number): NumberUse["format"] {
    for (let distance = 1; distance <= parameter; distance++) {
      const text = this.#textIn(parameter - distance, call, load);
      if (text?.includes("%") === true) return { text, distance };
    }
    return undefined;
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
        const { copyOf } = instruction.addresses ?? {};
        if (instruction.target === register && copyOf !== undefined) return this.#steadyText(copyOf);
        if (instruction.touches.includes(register) || instruction.target === register) return undefined;
        if (instruction.load?.register === register) return undefined;
      }
    }
    return undefined;
  }

  /** The text whose address a register holds for all of the function, calls included. */
  #steadyText(register: number): string | undefined {
    if (this.#scratch.includes(register)) return undefined;
    const known = this.#steady.get(register);
    if (known !== undefined) return known.text;
    const textMadeBy = (instruction: OperandInstruction): string | undefined => {
      const to = instruction.target ?? instruction.load?.register;
      return to === undefined ? undefined : this.#addressIn(instruction, to);
    };
    const text = steadyText(
      {
        instructions: this.#instructions,
        textMadeBy,
        at: (offset) => this.#at.get(offset),
        leaves: (instruction) => this.#callAt(instruction) !== undefined,
      },
      register,
    );
    this.#steady.set(register, { text });
    return text;
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
