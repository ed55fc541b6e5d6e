import { openSync, readSync } from "node:fs";
import { stat } from "node:fs/promises";

/** Bytes that are read from the disk at once. */
const chunkSize = 1 << 18;

/** A part of a file. */
export interface FileSlice {
  /** In bytes. */
  readonly offset: number;
  readonly content: Uint8Array;
}

/**
 * A file whose parts are read when they are first looked at: a kernel image has 66 MB, of which matching a patch needs a few hundred kB.
 */
export class LazyFile {
  readonly size: number;
  readonly #data: Buffer;
  readonly #descriptor: number | undefined;
  readonly #present: Uint8Array;
  readonly #viewed: Uint8Array;
  readonly #missing: ((offset: number) => Error) | undefined;

  private constructor(data: Buffer, descriptor: number | undefined, missing?: (offset: number) => Error) {
    this.size = data.length;
    this.#data = data;
    this.#descriptor = descriptor;
    this.#missing = missing;
    this.#viewed = new Uint8Array(Math.ceil(data.length / chunkSize));
    this.#present = this.#viewed.slice().fill(descriptor === undefined && missing === undefined ? 1 : 0);
  }

  /** A file whose content is in memory already. */
  static of(data: Buffer): LazyFile {
    return new LazyFile(data, undefined);
  }

  /**
   * A file of which only some slices are known.
   * @param size in bytes.
   * @param missing makes the error for a view of another part, from its offset.
   */
  static partial(size: number, slices: readonly FileSlice[], missing: (offset: number) => Error): LazyFile {
    const file = new LazyFile(Buffer.alloc(size), undefined, missing);
    for (const { offset, content } of slices) {
      file.#data.set(content, offset);
      file.#present.fill(1, Math.floor(offset / chunkSize), Math.ceil((offset + content.length) / chunkSize));
    }
    return file;
  }

  /** What {@link view} has handed out so far, in slices with some more around it. */
  slices(): FileSlice[] {
    const slices: FileSlice[] = [];
    for (let chunk = 0; chunk < this.#viewed.length; chunk++) {
      if (this.#viewed[chunk] === 0) continue;
      const first = chunk;
      while (this.#viewed[chunk + 1] === 1) chunk++;
      const offset = first * chunkSize;
      slices.push({ offset, content: this.#data.subarray(offset, Math.min((chunk + 1) * chunkSize, this.size)) });
    }
    return slices;
  }

  /** Opens a file that nobody changes any more; it stays open as long as the process lives. */
  static async open(path: string): Promise<LazyFile> {
    const { size } = await stat(path);
    return new LazyFile(Buffer.allocUnsafeSlow(size), openSync(path, "r"));
  }

  /** A view of `length` bytes from `offset`, cut off at the end of the file. */
  view(offset: number, length: number): Buffer {
    const end = Math.min(offset + length, this.size);
    for (let chunk = Math.floor(offset / chunkSize); chunk * chunkSize < end; chunk++) this.#load(chunk);
    return this.#data.subarray(offset, end);
  }

  /**
   * All bytes, of which only those that {@link view} has handed out are certain to have been read: for readers that take a whole file and make
   * views of its parts.
   */
  get frame(): Buffer {
    return this.#data;
  }

  #load(chunk: number): void {
    this.#viewed[chunk] = 1;
    if (this.#present[chunk] === 1) return;
    const start = chunk * chunkSize;
    if (this.#descriptor === undefined) throw this.#missing?.(start) ?? new Error("a file in memory has all its parts");
    const end = Math.min(start + chunkSize, this.size);
    for (let at = start; at < end; ) {
      const read = readSync(this.#descriptor, this.#data, at, end - at, at);
      if (read === 0) throw new Error(`file became shorter while it was read: ${at} of ${this.size} bytes`);
      at += read;
    }
    this.#present[chunk] = 1;
  }
}
