import { KmendError } from "../support/errors.ts";

/** A malformed object file: what is wrong, at which byte of the file, and the offending value. */
export class ElfFormatError extends KmendError {
  /** Byte offset in the file. */
  readonly offset: number;
  readonly value: number | string | undefined;
  readonly #problem: string;

  /** @param file path of the file, where it is known. */
  constructor(message: string, offset: number, value?: number | string, file?: string) {
    const shown = typeof value === "number" ? ` (value ${value})` : value === undefined ? "" : ` (value "${value}")`;
    super({
      code: "ELF_FORMAT",
      message: `malformed ELF file: ${message}${shown}`,
      where: `${file === undefined ? "" : `${file}: `}offset 0x${offset.toString(16)}`,
      why: "the file is damaged, truncated, or not what its name says",
      hint: "make the file again, or fetch it again",
    });
    this.name = "ElfFormatError";
    this.offset = offset;
    this.value = value;
    this.#problem = message;
  }

  /** The same error, with the path of the file. */
  in(file: string): ElfFormatError {
    return new ElfFormatError(this.#problem, this.offset, this.value, file);
  }
}
