import { SymbolType } from "../elf/constants.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { KmendError } from "../support/errors.ts";

/** One line of a symbol table, whatever it was written as. */
export interface ListedSymbol {
  readonly name: string;
  readonly address: number;
  /** Bytes; 0 where the table does not tell. */
  readonly size: number;
  readonly isGlobal: boolean;
  /** A FILE symbol: the symbols behind it, up to the next one, are local to that source file. */
  readonly isFile: boolean;
}

/**
 * Reads a symbol table: an ELF file, a System.map or a saved /proc/kallsyms (three columns, a fourth for modules), or the text of `readelf -s --wide`.
 * @param module keep only the lines of this module of a kallsyms; `vmlinux` keeps those without one.
 * @throws KmendError `SYMBOL_TABLE` when it is none of these.
 */
export function readSymbolTable(file: Uint8Array, path: string, module: string): ListedSymbol[] {
  if (file[0] === 0x7f && file[1] === 0x45) return fromElf(file);
  const text = Buffer.from(file).toString("latin1");
  const listed = /^\s+\d+: [0-9a-f]{16}\s/m.test(text) ? fromReadelf(text) : fromMap(text, module);
  if (listed.length > 0) return listed;
  throw new KmendError({
    code: "SYMBOL_TABLE",
    message: "this is not a symbol table",
    where: path,
    why: "it is neither an ELF file, nor a System.map or kallsyms, nor what `readelf -s --wide` prints",
    hint: "give one of these with --symtab",
  });
}

function fromElf(file: Uint8Array): ListedSymbol[] {
  return new ElfReader(file).symbols.flatMap((symbol) => {
    const isFile = symbol.type === SymbolType.file;
    if (symbol.type === SymbolType.section || (!isFile && !isDefined(symbol))) return [];
    return [{ name: symbol.name, address: symbol.value, size: symbol.size, isGlobal: symbol.binding !== 0, isFile }];
  });
}

function fromReadelf(text: string): ListedSymbol[] {
  const symbols: ListedSymbol[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s+\d+: ([0-9a-f]{16})\s+(\d+|0x[0-9a-f]+)\s+(\w+)\s+(\w+)\s+\w+\s+(?:\[.*?\]\s+)?(\w+) (\S+)/.exec(
      line,
    );
    if (match === null) continue;
    const [, address, size, type, binding, section, name] = match as unknown as string[] & { length: 7 };
    if (type === "SECTION" || section === "UND") continue;
    symbols.push({
      name: name as string,
      address: signed(address as string),
      size: Number(size),
      isGlobal: binding !== "LOCAL",
      isFile: type === "FILE",
    });
  }
  return symbols;
}

function fromMap(text: string, module: string): ListedSymbol[] {
  const symbols: ListedSymbol[] = [];
  for (const line of text.split("\n")) {
    const match = /^([0-9a-f]{8,16}) ([A-Za-z?]) (\S+)(?:\s+\[(\S+)\])?$/.exec(line);
    if (match === null) continue;
    const [, address, letter, name, home] = match as unknown as [string, string, string, string, string | undefined];
    if ((home ?? "vmlinux") !== module) continue;
    symbols.push({ name, address: signed(address), size: 0, isGlobal: letter === letter.toUpperCase(), isFile: false });
  }
  return symbols;
}

/** Hexadecimal digits as a signed 64-bit value. */
function signed(digits: string): number {
  return Number(BigInt.asIntN(64, BigInt(`0x${digits}`)));
}
