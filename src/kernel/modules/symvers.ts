import { readFile } from "node:fs/promises";
import { KmendError } from "../../support/errors.ts";
import { moduleName } from "../../support/module-file-name.ts";

/** One exported symbol of the target kernel. */
export interface SymversEntry {
  readonly name: string;
  /** Version checksum (CONFIG_MODVERSIONS); 0 where the kernel has none. */
  readonly crc: number;
  /** `vmlinux` or the name of the module that exports it, as `/proc/modules` shows it. */
  readonly owner: string;
  /** Export namespace; empty for most symbols. */
  readonly namespace: string;
  /** For example `EXPORT_SYMBOL_GPL`. */
  readonly exportType: string;
}

/** Exported symbols by name; a Map of them is one too. */
export interface ExportedSymbols {
  get(name: string): SymversEntry | undefined;
}

/** Several tables as one. @param tables of the first that has a symbol, it is taken. */
export function joinSymbols(tables: readonly ExportedSymbols[]): ExportedSymbols {
  return {
    get: (name) => {
      for (const table of tables) {
        const entry = table.get(name);
        if (entry !== undefined) return entry;
      }
      return undefined;
    },
  };
}

/**
 * Reads a Module.symvers file.
 * @throws KmendError `SYMVERS_DAMAGED` with the line.
 */
export async function readSymvers(path: string): Promise<Symvers> {
  return new Symvers(await readFile(path, "utf8"), path);
}

/**
 * The lines of a Module.symvers file: tab-separated columns crc, symbol, module, export type, namespace. The last is missing before Linux 5.4 and stood in
 * third place until 5.6 (Documentation/kbuild/modules.rst, "Module versioning"). A kernel exports some 30,000 symbols and a patch needs few of them, so
 * every line is checked for its form, and taken apart when it is asked for.
 */
export class Symvers implements ExportedSymbols {
  readonly #text: string;
  /** Where the line of a symbol begins. */
  readonly #lines = new Map<string, number>();

  /** @throws KmendError `SYMVERS_DAMAGED` with the line. */
  constructor(text: string, path: string) {
    this.#text = text;
    let end: number;
    for (let start = 0; start < text.length; start = end + 1) {
      end = endOfLine(text, start);
      if (end === start) continue;
      const nameEnd = text.indexOf("\t", start + nameStart);
      if (!isWhole(text, start, nameEnd, end)) throw damaged(text, start, end, path);
      this.#lines.set(text.slice(start + nameStart, nameEnd), start);
    }
  }

  /** How many symbols there are. */
  get size(): number {
    return this.#lines.size;
  }

  /** Names of all symbols. */
  names(): Iterable<string> {
    return this.#lines.keys();
  }

  get(name: string): SymversEntry | undefined {
    const start = this.#lines.get(name);
    if (start === undefined) return undefined;
    const columns = this.#text.slice(start, endOfLine(this.#text, start)).split("\t");
    const typeColumn = columns.findIndex((column, place) => place >= 3 && column.startsWith("EXPORT_"));
    const module = columns[typeColumn - 1] as string;
    return {
      name,
      crc: Number.parseInt(columns[0] as string, 16),
      owner: module === "vmlinux" ? module : moduleName(module),
      namespace: (typeColumn === 4 ? columns[2] : columns[4]) ?? "",
      exportType: columns[typeColumn] as string,
    };
  }
}

/** Behind `0x`, eight digits and a tab. */
const nameStart = 11;

function endOfLine(text: string, start: number): number {
  const end = text.indexOf("\n", start);
  return end < 0 ? text.length : end;
}

/** A checksum, a name, and an export type with at least one column between the two. */
function isWhole(text: string, start: number, nameEnd: number, end: number): boolean {
  if (nameEnd < 0 || nameEnd >= end) return false;
  if (text.charCodeAt(start) !== 0x30 || (text.charCodeAt(start + 1) | 0x20) !== 0x78) return false;
  for (let at = start + 2; at < start + nameStart - 1; at++) if (!isHexadecimal(text.charCodeAt(at))) return false;
  if (text.charCodeAt(start + nameStart - 1) !== 0x09) return false;
  const type = text.indexOf("\tEXPORT_", nameEnd + 1);
  return type >= 0 && type < end;
}

function isHexadecimal(code: number): boolean {
  const letter = code | 0x20;
  return (code >= 0x30 && code <= 0x39) || (letter >= 0x61 && letter <= 0x66);
}

function damaged(text: string, start: number, end: number, path: string): KmendError {
  return new KmendError({
    code: "SYMVERS_DAMAGED",
    message: "a line of Module.symvers cannot be understood",
    where: `${path}:${text.slice(0, start).split("\n").length}`,
    why: `it reads: ${text.slice(start, Math.min(end, start + 200))}`,
    hint: "install or fetch the kernel headers again",
  });
}
