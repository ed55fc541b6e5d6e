import { readFile } from "node:fs/promises";
import { KmendError } from "../support/errors.ts";
import { moduleName } from "./module-name.ts";

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

/**
 * Reads a Module.symvers file.
 * @throws KmendError `SYMVERS_DAMAGED` with the line.
 */
export async function readSymvers(path: string): Promise<ReadonlyMap<string, SymversEntry>> {
  return parseSymvers(await readFile(path, "utf8"), path);
}

/**
 * Parses the tab-separated columns crc, symbol, module, export type, namespace. The last is missing before Linux 5.4 and stood in third place until 5.6
 * (Documentation/kbuild/modules.rst, "Module versioning").
 */
export function parseSymvers(text: string, path: string): ReadonlyMap<string, SymversEntry> {
  const symbols = new Map<string, SymversEntry>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const columns = line.split("\t");
    const [crc, name] = columns as [string, string];
    const typeColumn = columns.findIndex((column, place) => place >= 3 && column.startsWith("EXPORT_"));
    const module = columns[typeColumn - 1];
    if (name === undefined || typeColumn < 3 || module === undefined || !/^0x[0-9a-f]{8}$/i.test(crc)) {
      throw new KmendError({
        code: "SYMVERS_DAMAGED",
        message: "a line of Module.symvers cannot be understood",
        where: `${path}:${index + 1}`,
        why: `it reads: ${line.slice(0, 200)}`,
        hint: "install or fetch the kernel headers again",
      });
    }
    symbols.set(name, {
      name,
      crc: Number.parseInt(crc, 16),
      owner: module === "vmlinux" ? module : moduleName(module),
      namespace: (typeColumn === 4 ? columns[2] : columns[4]) ?? "",
      exportType: columns[typeColumn] as string,
    });
  }
  return symbols;
}
