import { openSync, readSync } from "node:fs";
import { stat } from "node:fs/promises";

/** Bytes that are read from the disk at once. */
const chunkSize = 1 << 18;

/**
 * A file whose parts are read when they are first looked at: a kernel image has 66 MB, of which matching a patch needs a few hundred kB.
 */
export class LazyFile {
  readonly size: number;
  readonly #data: Buffer;
  readonly #descriptor: number | undefined;
  readonly #present: Uint8Array;

  private constructor(data: Buffer, descriptor: number | undefined) {
    this.size = data.length;
    this.#data = data;
    this.#descriptor = descriptor;
    this.#present = new Uint8Array(Math.ceil(data.length / chunkSize)).fill(descriptor === undefined ? 1 : 0);
  }

  /** A file whose content is in memory already. */
  static of(data: Buffer): LazyFile {
    return new LazyFile(data, undefined);
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
    if (this.#present[chunk] === 1 || this.#descriptor === undefined) return;
    const start = chunk * chunkSize;
    const end = Math.min(start + chunkSize, this.size);
    for (let at = start; at < end; ) {
      const read = readSync(this.#descriptor, this.#data, at, end - at, at);
      if (read === 0) throw new Error(`file became shorter while it was read: ${at} of ${this.size} bytes`);
      at += read;
    }
    this.#present[chunk] = 1;
  }
}
