import { RelocationX86 } from "../../elf/constants.ts";
import type { CodeStyle } from "./shipped-facts.ts";

/** What a place in code refers to: a symbol of the kernel, or a place of the module. */
export type Target =
  | { readonly kernel: string }
  | { readonly part: "rodata" | "data" | "text"; readonly offset: number };

/** A place that the module loader fills. */
export interface CodeReference {
  readonly offset: number;
  readonly type: number;
  readonly target: Target;
  readonly addend: number;
}

/** A function in a section of code. */
export interface CodeFunction {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** What else there is to a function than its code. */
interface FunctionForm {
  readonly traced?: boolean;
  readonly preamble?: Uint8Array | undefined;
}

/** How a function answers: `void` leaves the register alone. */
export type Answer =
  | { readonly kind: "void" }
  | { readonly kind: "value"; readonly value: bigint; readonly bytes: number };

/**
 * Machine code of x86-64 for one section, with the places that have to be filled and the tables that the kernel wants about it. Only instructions that a
 * stop module needs can be written, and none of them moves the stack pointer: one unwind entry covers all of it.
 */
export class CodeSection {
  readonly #style: CodeStyle;
  readonly #bytes: number[] = [];
  readonly references: CodeReference[] = [];
  readonly functions: CodeFunction[] = [];
  /** Places of calls that ftrace controls. */
  readonly traced: number[] = [];
  /** Places of jumps to the return thunk. */
  readonly returns: number[] = [];
  /** Places of other calls. */
  readonly calls: number[] = [];
  /** Preambles of functions, by the names of these. */
  readonly preambles: CodeFunction[] = [];

  constructor(style: CodeStyle) {
    this.#style = style;
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  get size(): number {
    return this.#bytes.length;
  }

  /**
   * Appends a function, aligned as the compiler aligns them (16 bytes), behind the padding that the kernel wants.
   * @param traced false for code that ftrace leaves alone.
   * @param preamble what the kernel looks for before a function that it calls through a pointer; takes the place of the padding.
   */
  function(name: string, body: () => void, { traced = true, preamble }: FunctionForm = {}): void {
    const { padding, landingPads } = this.#style;
    const tracing = traced ? this.#style.tracing : "none";
    const before = preamble ?? new Uint8Array(padding).fill(0x90);
    while ((this.#bytes.length + before.length) % 16 !== 0) this.put(0xcc);
    if (preamble !== undefined) this.preambles.push({ name, offset: this.#bytes.length, size: preamble.length });
    this.put(...before);
    const offset = this.#bytes.length;
    if (landingPads) this.put(0xf3, 0x0f, 0x1e, 0xfa);
    if (tracing !== "none") this.traced.push(this.#bytes.length);
    if (tracing === "call") this.#branch(0xe8, "__fentry__");
    if (tracing === "nop") this.put(0x0f, 0x1f, 0x44, 0x00, 0x00);
    body();
    this.functions.push({ name, offset, size: this.#bytes.length - offset });
  }

  put(...bytes: number[]): void {
    this.#bytes.push(...bytes);
  }

  /** A place of four bytes that holds an address below 2 GiB, with its sign (the kernel's code model of the psABI). */
  address(target: Target, addend = 0): void {
    this.#refer(RelocationX86.abs32s, target, addend);
  }

  /** A place of four bytes that holds a distance from the end of the instruction. @param behind bytes of the instruction behind the place. */
  distance(target: Target, behind = 0): void {
    this.#refer(RelocationX86.pc32, target, -4 - behind);
  }

  /** Calls a function of the kernel. */
  call(name: string): void {
    this.calls.push(this.#bytes.length);
    this.#branch(0xe8, name);
  }

  /** Ends the function with a function of the kernel, whose result becomes its own. */
  tailCall(name: string): void {
    this.#branch(0xe9, name);
  }

  /** A jump over code that `body` writes. @param opcode of the short jump that is taken. */
  unless(opcode: number, body: () => void): void {
    this.put(opcode, 0);
    const from = this.#bytes.length;
    body();
    const length = this.#bytes.length - from;
    if (length > 127) throw new Error("a short jump cannot reach that far");
    this.#bytes[from - 1] = length;
  }

  /** Puts an answer into the register for results, in the shortest form that a compiler chooses. */
  answer(answer: Answer): void {
    if (answer.kind === "void") return;
    const { value, bytes } = answer;
    if (value === 0n) this.put(0x31, 0xc0);
    else if (bytes < 8 || (value > 0n && value <= 0xffff_ffffn)) this.put(0xb8, ...littleEndian(value, 4));
    else if (value === BigInt.asIntN(32, value)) this.put(0x48, 0xc7, 0xc0, ...littleEndian(value, 4));
    else this.put(0x48, 0xb8, ...littleEndian(value, 8));
  }

  /** Returns as all code of this kernel does. */
  return(): void {
    if (this.#style.returnThunk) {
      this.returns.push(this.#bytes.length);
      this.#branch(0xe9, "__x86_return_thunk");
      // Speculation may run on behind the jump where the kernel lists no such place.
      this.put(0xcc);
    } else this.put(0xc3, 0xcc);
  }

  #branch(opcode: number, name: string): void {
    this.put(opcode);
    this.#refer(RelocationX86.plt32, { kernel: name }, -4);
  }

  #refer(type: number, target: Target, addend: number): void {
    this.references.push({ offset: this.#bytes.length, type, target, addend });
    this.put(0, 0, 0, 0);
  }
}

function littleEndian(value: bigint, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, at) => Number((BigInt.asUintN(64, value) >> BigInt(8 * at)) & 0xffn));
}

/** The short jumps that {@link CodeSection.unless} takes. */
export const Jump = { ifAbove: 0x77, ifNotEqual: 0x75, ifEqual: 0x74 } as const;
