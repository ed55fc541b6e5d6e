import { isReadByLoader } from "../../diff/special-sections/special-sections.ts";
import { RelocationX86, SectionFlag, SectionType, SpecialSection } from "../../elf/constants.ts";
import type { Relocation, Section } from "../../elf/model.ts";
import { ElfReader, isDefined } from "../../elf/reader.ts";
import { readVersions } from "../../elf/symbol-versions.ts";
import { type LoaderFacts, loaderFactsOf } from "../../kernel/modules/loader-facts.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";
import { exportersOf } from "./module-sections.ts";

/** What the finished module has to agree with. */
export interface SelfCheckExpectations {
  readonly name: string;
  readonly release: string;
  /** Of a module that the target kernel ships, which loads into it; undefined when it ships none. */
  readonly shipped: LoaderFacts | undefined;
  readonly symvers: ExportedSymbols;
  /** Number of functions that it redirects. */
  readonly redirections: number;
}

/** Types that apply_relocate_add() knows (arch/x86/kernel/module.c, 6.1 and 6.12), with the bytes that they fill. */
const loadable: ReadonlyMap<number, number> = new Map([
  [RelocationX86.none, 0],
  [RelocationX86.abs64, 8],
  [RelocationX86.pc64, 8],
  [RelocationX86.abs32, 4],
  [RelocationX86.abs32s, 4],
  [RelocationX86.pc32, 4],
  [RelocationX86.plt32, 4],
]);

/** Sections beside the special ones of which the module loader takes one of each name (find_module_sections(), setup_load_info()). */
const single = /^(\.orc_header|\.gnu\.linkonce\.this_module|\.modinfo|__versions|__dyndbg)$/;

/**
 * Reads a finished module again and checks all that the kernel's module loader and livepatch core will check or rely on
 * (kernel/module/main.c, kernel/livepatch/core.c, arch/x86/kernel/module.c).
 * @returns one sentence for each thing that is wrong; empty when the module may be written.
 */
export function selfCheck(file: Uint8Array, expected: SelfCheckExpectations): string[] {
  const elf = new ElfReader(file);
  return [
    ...checkInformation(elf, expected),
    ...compareWithShipped(elf, expected.shipped),
    ...checkSections(elf),
    ...checkLivepatchRelocations(elf),
    ...checkOrdinaryRelocations(elf, expected),
    ...checkVersions(elf, expected),
    ...checkUnwinding(elf),
    ...checkTracing(elf, expected),
  ];
}

function firstValues(elf: ElfReader): Map<string, string | undefined> {
  return new Map([...readModinfo(elf)].map(([key, values]) => [key, values[0]]));
}

function checkInformation(elf: ElfReader, { name, release, symvers }: SelfCheckExpectations): string[] {
  const problems: string[] = [];
  const info = firstValues(elf);
  if (name.length > 55) problems.push(`the name ${name} is longer than 55 characters`);
  if (info.get("livepatch") !== "Y") problems.push("modinfo does not mark it as a livepatch module");
  if (info.get("license") !== "GPL")
    problems.push("the licence is not GPL, which livepatch functions are exported for");
  if (info.get("vermagic")?.split(" ")[0] !== release)
    problems.push(`vermagic is "${info.get("vermagic") ?? ""}" and not for ${release}`);
  if (info.get("name") !== name.replaceAll("-", "_"))
    problems.push(`modinfo names it ${info.get("name") ?? "nothing"}`);
  const depends = (info.get("depends") ?? "").replaceAll("-", "_").split(",").filter(Boolean).sort().join(",");
  const exporters = exportersOf(elf, symvers).join(",");
  if (depends !== exporters)
    problems.push(`modinfo says that it depends on "${depends}", and it uses what "${exporters}" exports`);
  if (elf.section(".gnu.linkonce.this_module") === undefined) problems.push("it has no struct module");
  return problems;
}

/** vermagic and the size of `struct module` tell whether the headers and the configuration used here are those of the kernel. */
function compareWithShipped(elf: ElfReader, shipped: LoaderFacts | undefined): string[] {
  if (shipped === undefined) return [];
  const own = loaderFactsOf(elf);
  const problems: string[] = [];
  if (own.vermagic !== shipped.vermagic)
    problems.push(`vermagic is "${own.vermagic}", and the kernel's own modules have "${shipped.vermagic}"`);
  if (own.structSize !== shipped.structSize)
    problems.push(`struct module has ${own.structSize} bytes, and ${shipped.structSize} in the kernel's own modules`);
  return problems;
}

function checkSections(elf: ElfReader): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const section of elf.sections) {
    if (single.test(section.name) || isReadByLoader(section.name)) {
      if (seen.has(section.name)) problems.push(`section ${section.name} is there twice, and the loader reads one`);
      seen.add(section.name);
    }
    if (section.name.startsWith(".kmend")) problems.push(`section ${section.name} should be gone`);
  }
  for (const symbol of elf.symbols) {
    if (symbol.section === SpecialSection.common)
      problems.push(`symbol ${symbol.name} is in a common block, which the loader refuses`);
  }
  return problems;
}

function checkLivepatchRelocations(elf: ElfReader): string[] {
  const problems: string[] = [];
  for (const rela of elf.sections) {
    const isNamed = rela.name.startsWith(".klp.rela.");
    const isFlagged = (rela.flags & SectionFlag.relaLivepatch) !== 0;
    if (!isNamed && !isFlagged) continue;
    const say = (text: string): number => problems.push(`${rela.name}: ${text}`);
    const match = /^\.klp\.rela\.([^.]{1,55})\.(.+)$/.exec(rela.name);
    const wanted = SectionFlag.alloc | SectionFlag.infoLink | SectionFlag.relaLivepatch;
    if (match === null) say("the name is not .klp.rela.<object>.<section>");
    if (rela.type !== SectionType.rela || (rela.flags & wanted) !== wanted) say("type or flags are wrong");
    if (elf.sections[rela.link]?.type !== SectionType.symtab) say("it is not linked to the symbol table");
    const target = elf.sections[rela.info];
    if (target === undefined || (target.flags & SectionFlag.alloc) === 0) {
      say("the section that it patches is not in memory");
      continue;
    }
    if (match !== null && match[1] !== "vmlinux" && isReadByLoader(target.name))
      say(`${target.name} is used before this relocation is written`);
    for (const relocation of elf.relocations(rela))
      problems.push(...checkLivepatchEntry(elf, rela, target, relocation, match?.[1]));
  }
  return problems;
}

function checkLivepatchEntry(
  elf: ElfReader,
  rela: Section,
  target: Section,
  relocation: Relocation,
  holder: string | undefined,
): string[] {
  const problems: string[] = [];
  const symbol = elf.symbols[relocation.symbol];
  const where = `${rela.name}+0x${relocation.offset.toString(16)}`;
  if (symbol === undefined || symbol.section !== SpecialSection.livepatch) {
    return [`${where}: ${symbol?.name ?? "its symbol"} is not marked as a livepatch symbol`];
  }
  const match = /^\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d+)$/.exec(symbol.name);
  if (match === null) problems.push(`${where}: ${symbol.name} is not .klp.sym.<object>.<name>,<position>`);
  else if (match[1] === "vmlinux" && holder !== "vmlinux")
    problems.push(`${where}: a symbol of vmlinux in the section of ${holder}`);
  const width = loadable.get(relocation.type);
  if (width === undefined)
    return [...problems, `${where}: the loader does not know relocation type ${relocation.type}`];
  if (relocation.offset < 0 || relocation.offset + width > target.data.length)
    return [...problems, `${where}: outside of ${target.name}`];
  const place = target.data.subarray(relocation.offset, relocation.offset + width);
  if (place.some((byte) => byte !== 0)) problems.push(`${where}: the place does not hold zero`);
  return problems;
}

function checkOrdinaryRelocations(elf: ElfReader, { symvers }: SelfCheckExpectations): string[] {
  const problems: string[] = [];
  for (const rela of elf.sections) {
    if (rela.type !== SectionType.rela || (rela.flags & SectionFlag.relaLivepatch) !== 0) continue;
    const target = elf.sections[rela.info];
    if (target === undefined || (target.flags & SectionFlag.alloc) === 0) continue;
    for (const relocation of elf.relocations(rela)) {
      const where = `${rela.name}+0x${relocation.offset.toString(16)}`;
      const symbol = elf.symbols[relocation.symbol];
      const width = loadable.get(relocation.type);
      if (width === undefined) problems.push(`${where}: the loader does not know relocation type ${relocation.type}`);
      else if (relocation.offset < 0 || relocation.offset + width > target.size)
        problems.push(`${where}: outside of ${target.name}`);
      if (symbol === undefined || symbol.index === 0 || isDefined(symbol)) continue;
      if (symbol.section === SpecialSection.livepatch)
        problems.push(`${where}: an ordinary relocation uses the livepatch symbol ${symbol.name}`);
      else if (
        symbol.section === SpecialSection.undef &&
        symbol.binding !== 2 &&
        symvers.get(symbol.name) === undefined
      ) {
        problems.push(`${where}: the kernel does not export ${symbol.name}`);
      }
    }
  }
  return problems;
}

/** The loader refuses a module whose version of a symbol, or of the layout of `struct module`, is not the kernel's (kernel/module/version.c). */
function checkVersions(elf: ElfReader, { symvers }: SelfCheckExpectations): string[] {
  if (elf.section("__versions") === undefined) return [];
  const versions = new Map(readVersions(elf).map(({ name, crc }) => [name, crc]));
  const used = elf.symbols.filter(({ index, section }) => index > 0 && section === SpecialSection.undef);
  const names = new Set([...versions.keys(), "module_layout", ...used.map(({ name }) => name)]);
  return [...names].flatMap((name) => {
    const expected = symvers.get(name)?.crc ?? 0;
    return expected === 0 || versions.get(name) === expected ? [] : [`it has not the kernel's version of ${name}`];
  });
}

/** Without unwind entries for its code, a task sleeping in it could never be moved off it, and unloading would wait for ever. */
function checkUnwinding(elf: ElfReader): string[] {
  const addresses = elf.section(".orc_unwind_ip");
  const entries = elf.section(".orc_unwind");
  const text = elf.section(".text");
  if (addresses === undefined || entries === undefined)
    return text !== undefined && text.size > 0 ? ["it has no ORC unwind data"] : [];
  const count = addresses.size / 4;
  const problems: string[] = [];
  if (!Number.isInteger(count) || entries.size % count !== 0)
    problems.push(".orc_unwind and .orc_unwind_ip do not have equally many entries");
  const covered = new Map<number, number>();
  for (const { symbol, addend } of elf.relocationsFor(addresses.index)) {
    const home = elf.symbols[symbol];
    if (home === undefined) continue;
    covered.set(home.section, Math.min(covered.get(home.section) ?? Number.POSITIVE_INFINITY, home.value + addend));
  }
  for (const section of elf.sections) {
    const isCode = (section.flags & SectionFlag.execinstr) !== 0 && section.size > 0;
    // Replacement code is copied over the original before it runs; objtool gives neither it nor the tests in .altinstr_aux entries of their own.
    if (isCode && !section.name.startsWith(".altinstr_") && !covered.has(section.index))
      problems.push(`${section.name} has no ORC unwind data`);
  }
  return problems;
}

/** Patched functions are traced like any other, and a later patch redirects them through the same call. */
function checkTracing(elf: ElfReader, { redirections }: SelfCheckExpectations): string[] {
  const calls = elf.section("__mcount_loc");
  const count = calls === undefined ? 0 : calls.size / 8;
  return count < redirections ? [`__mcount_loc has ${count} entries for ${redirections} replaced functions`] : [];
}
