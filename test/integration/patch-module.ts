import { readFileSync } from "node:fs";
import { SymbolType } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";

/** SHN_LIVEPATCH and SHF_RELA_LIVEPATCH of include/uapi/linux/elf.h, as the reader gives them. */
const livepatchIndex = 0xff20;
const livepatchFlag = 0x0010_0000;

/** What a written patch module holds, as the kernel's loader would read it. */
export interface PatchModule {
  /** `.modinfo`, one value for each key. */
  readonly info: ReadonlyMap<string, string>;
  /** `object.name,sympos` of each livepatch symbol, sorted. */
  readonly livepatchSymbols: readonly string[];
  /** Names of the sections with livepatch relocations. */
  readonly livepatchSections: readonly string[];
  /** Names of all defined functions. */
  readonly functions: readonly string[];
  /** Names that the module loader has to find among the kernel's exports. */
  readonly imports: readonly string[];
  /** Bytes of a section; 0 when it is missing. */
  readonly sizeOf: (section: string) => number;
}

export function readPatchModule(path: string): PatchModule {
  const elf = new ElfReader(readFileSync(path));
  const text = Buffer.from(elf.section(".modinfo")?.data ?? new Uint8Array(0)).toString("latin1");
  const entries = text.split("\0").filter((entry) => entry.includes("="));
  const named = elf.symbols.filter(({ name }) => name !== "");
  return {
    info: new Map(
      entries.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)] as const),
    ),
    livepatchSymbols: named
      .filter(({ section }) => (section & 0xffff) === livepatchIndex)
      .map(({ name }) => name.replace(/^\.klp\.sym\./, ""))
      .sort(),
    livepatchSections: elf.sections.filter(({ flags }) => (flags & livepatchFlag) !== 0).map(({ name }) => name),
    functions: named.filter(({ type, section }) => type === SymbolType.func && section > 0).map(({ name }) => name),
    imports: named.filter(({ section }) => section === 0).map(({ name }) => name),
    sizeOf: (section) => elf.section(section)?.size ?? 0,
  };
}
