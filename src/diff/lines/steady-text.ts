import type { OperandInstruction } from "../arch/operands.ts";

/** A function as it is asked for what a register holds. */
export interface SteadyCode {
  readonly instructions: readonly OperandInstruction[];
  /** The text whose address, or a part of it, an instruction puts into the register that it writes. */
  readonly textMadeBy: (instruction: OperandInstruction) => string | undefined;
  /** Place in the list of the instruction at an offset; undefined where none begins. */
  readonly at: (offset: number) => number | undefined;
  /** True for an instruction that leads out of the function by a relocation. */
  readonly leaves: (instruction: OperandInstruction) => boolean;
}

/** In so many instructions a function returns once it has given its caller's registers back. */
const epilogue = 32;

/**
 * The text whose address a register holds in all of the function, wherever it holds anything of the function's own: each instruction that may write the
 * register puts that address there, or is followed by the return, with nothing between that reads it (it gives the caller's content back).
 */
export function steadyText(code: SteadyCode, register: number): string | undefined {
  const texts = new Set<string>();
  for (const [at, instruction] of code.instructions.entries()) {
    if (!mayWrite(instruction, register)) continue;
    const isOwn = instruction.target === register || instruction.load?.register === register;
    const text = isOwn ? code.textMadeBy(instruction) : undefined;
    if (text !== undefined) texts.add(text);
    else if (!isUnusedFrom(code, at + 1, register)) return undefined;
  }
  const [only] = texts;
  return texts.size === 1 ? only : undefined;
}

function mayWrite({ target, load, writes, touches }: OperandInstruction, register: number): boolean {
  if (target === register || load?.register === register) return true;
  if (writes !== undefined) return writes.includes(register);
  // An instruction whose target is known only reads the others.
  return target === undefined && touches.includes(register);
}

/** True when the function ends, on the only way from there, before anything uses the register. */
function isUnusedFrom(code: SteadyCode, start: number, register: number): boolean {
  let at: number | undefined = start;
  for (let step = 0; step < epilogue; step++) {
    const instruction: OperandInstruction | undefined = at === undefined ? undefined : code.instructions[at];
    if (instruction === undefined || instruction.addresses?.goesOn !== undefined) return false;
    if (instruction.flow === "end" || code.leaves(instruction)) return true;
    if (instruction.touches.includes(register) && !isOnlyWritten(instruction, register)) return false;
    at = instruction.flow === "next" ? (at as number) + 1 : code.at(instruction.flow.jump);
  }
  return false;
}

function isOnlyWritten({ writes, addresses }: OperandInstruction, register: number): boolean {
  return writes?.includes(register) === true && addresses?.copyOf !== register;
}
