import { putI64 } from "../../elf/bytes.ts";
import type { Target } from "./machine-code.ts";

/** An address in a section of data, which the module loader fills. */
export interface Pointer {
  readonly offset: number;
  readonly target: Target | { readonly function: string; readonly index: number } | { readonly own: "module" };
}

/** Read-only content of a module: texts and copies, each once. */
export class ReadOnlyPart {
  readonly #pieces: Buffer[] = [];
  readonly #texts = new Map<string, Target>();
  #size = 0;

  /** A text with its closing zero. */
  text(text: string): Target {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const made = this.bytes(Buffer.from(`${text}\0`, "latin1"));
    this.#texts.set(text, made);
    return made;
  }

  bytes(content: Uint8Array): Target {
    const target = { part: "rodata", offset: this.#size } as const;
    this.#pieces.push(Buffer.from(content));
    this.#size += content.length;
    return target;
  }

  get data(): Uint8Array {
    return Buffer.concat(this.#pieces);
  }
}

/** Content of a module that the kernel writes to: structures with pointers. */
export class StructPart {
  readonly pointers: Pointer[] = [];
  #data = new Uint8Array(0);

  /** Room for structures, zero until it is filled; aligned to 8 bytes. @returns its offset. */
  room(size: number): number {
    const offset = this.#data.length;
    const larger = new Uint8Array(offset + Math.ceil(size / 8) * 8);
    larger.set(this.#data);
    this.#data = larger;
    return offset;
  }

  point(offset: number, target: Pointer["target"]): void {
    this.pointers.push({ offset, target });
  }

  /** An unsigned long. */
  long(offset: number, value: number): void {
    putI64(new DataView(this.#data.buffer), offset, value, true);
  }

  byte(offset: number, value: number): void {
    this.#data[offset] = value;
  }

  text(offset: number, text: string): void {
    this.#data.set(Buffer.from(text, "latin1"), offset);
  }

  get data(): Uint8Array {
    return this.#data;
  }
}
