import { draftSection, draftSymbol, emptyDraft } from "../../elf/builder.ts";
import { Binding, SectionFlag, SectionType, SpecialSection } from "../../elf/constants.ts";
import type { Section } from "../../elf/model.ts";
import { ElfReader } from "../../elf/reader.ts";
import { readVersions, type SymbolVersion, versionEntrySize, versionNameSize } from "../../elf/symbol-versions.ts";
import { writeObject } from "../../elf/writer.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";

/** What modpost wrote for the template module, compiled: `struct module`, `.modinfo` and the versions of the symbols that it uses. */
export interface ModuleInfoTemplate {
  /** Compiled `kmend-template.mod.c`. */
  readonly object: Uint8Array;
  /** Module name in it, with underscores. */
  readonly name: string;
}

const thisModule = ".gnu.linkonce.this_module";

/** Sections of the module information that kmend knows how to write; notes are taken as they are. */
const known = /^(\.modinfo|__versions|\.gnu\.linkonce\.this_module|\.note\..*)$/;

/** Keys that modpost gives every module; others depend on the module. */
const commonKeys = new Set(["vermagic", "name", "retpoline", "depends"]);

/**
 * Writes the module information of a patch module from that of the template: the same but for the name and the versions of the symbols. Compiling
 * what modpost writes for each module takes longer than everything else after the units are compiled.
 * @param linked the linked parts of the module.
 * @param name module name with underscores.
 * @returns undefined when this kernel's module information, or this module, has something that the template does not show how to write; then modpost
 *   has to do it.
 */
export function moduleInfoObject(
  template: ModuleInfoTemplate,
  linked: Uint8Array,
  name: string,
  symvers: ExportedSymbols,
): Uint8Array | undefined {
  const like = new ElfReader(template.object);
  const parts = new ElfReader(linked);
  if (!isUnderstood(like, template.name, symvers) || exportsSymbols(parts)) return undefined;
  const versions = versionsOf(parts, symvers, like.section("__versions") !== undefined);
  if (versions === undefined) return undefined;
  const draft = emptyDraft(like);
  const source = like.section(thisModule) as Section;
  const structure = draftSection({ ...plain(source), data: renamed(source.data, template.name, name) });
  const rela = draftSection({
    name: `.rela${thisModule}`,
    type: SectionType.rela,
    flags: SectionFlag.infoLink,
    alignment: 8,
    entrySize: 24,
    link: draft.symbolTable,
    info: structure,
  });
  const depends = exportersOf(parts, symvers).join(",");
  const own: Readonly<Record<string, string>> = { "name=": `name=${name}`, "depends=": `depends=${depends}` };
  const texts = infoTexts(like).map((text) => own[text.slice(0, text.indexOf("=") + 1)] ?? text);
  const info = like.section(".modinfo") as Section;
  draft.sections.push(structure, rela, draftSection({ ...plain(info), data: Buffer.from(`${texts.join("\0")}\0`) }));
  const versionSection = like.section("__versions");
  if (versionSection !== undefined)
    draft.sections.push(draftSection({ ...plain(versionSection), data: versionTable(versions, like.littleEndian) }));
  for (const note of like.sections.filter((section) => section.name.startsWith(".note.") && section.size > 0))
    draft.sections.push(draftSection(plain(note)));
  const global = { binding: Binding.global };
  draft.symbols.push(draftSymbol({ ...global, name: "__this_module", section: structure, type: 1, size: source.size }));
  for (const { offset, type, symbol, addend } of like.relocationsFor(source.index)) {
    const target = draftSymbol({ ...global, name: like.symbols[symbol]?.name ?? "", section: 0 });
    draft.symbols.push(target);
    rela.relocations.push({ offset, type, symbol: target, addend });
  }
  return writeObject(draft);
}

/**
 * Whether the template is what this file knows how to write: checked on the template itself, whose name and versions are known.
 */
function isUnderstood(like: ElfReader, name: string, symvers: ExportedSymbols): boolean {
  const loaded = like.sections.filter((section) => (section.flags & SectionFlag.alloc) !== 0 && section.size > 0);
  const structure = like.section(thisModule);
  const keys = infoTexts(like).map((text) => text.slice(0, text.indexOf("=")));
  const versions = readVersions(like);
  return (
    structure !== undefined &&
    loaded.every((section) => known.test(section.name)) &&
    loaded.every((section) => section === structure || like.relocationsFor(section.index).length === 0) &&
    like
      .relocationsFor(structure.index)
      .every(({ symbol }) => like.symbols[symbol]?.section === SpecialSection.undef) &&
    occurrences(structure.data, name) === 1 &&
    keys.every((key) => commonKeys.has(key)) &&
    new Set(keys).size === keys.length &&
    infoTexts(like).includes(`name=${name}`) &&
    infoTexts(like).includes("depends=") &&
    versions.every(({ name: symbol, crc }) => symvers.get(symbol)?.crc === crc) &&
    (versions.length === 0 || versions.at(-1)?.name === moduleLayout)
  );
}

/** The symbol whose version stands for the layout of `struct module`: every module has it, behind those that it uses. */
const moduleLayout = "module_layout";

/** Symbols that a module exports need what modpost writes for them. */
function exportsSymbols(parts: ElfReader): boolean {
  return parts.sections.some(({ name }) => /^(\.export_symbol|__ksymtab|___ksymtab|__kcrctab|___kcrctab)/.test(name));
}

/** Names of the modules whose exports a module uses, as its `depends=` lists them; in alphabetical order. */
export function exportersOf(module: ElfReader, symvers: ExportedSymbols): string[] {
  const used = module.symbols.slice(1).filter(({ section }) => section === SpecialSection.undef);
  const owners = new Set(used.map(({ name }) => symvers.get(name)?.owner ?? "vmlinux"));
  owners.delete("vmlinux");
  return [...owners].sort();
}

/**
 * @param isVersioned false for a kernel without versions of symbols (`CONFIG_MODVERSIONS`).
 * @returns undefined for a symbol that the kernel does not export, or whose name has no room.
 */
function versionsOf(parts: ElfReader, symvers: ExportedSymbols, isVersioned: boolean): SymbolVersion[] | undefined {
  const versions: SymbolVersion[] = [];
  const names = parts.symbols.slice(1).filter(({ section }) => section === SpecialSection.undef);
  for (const { name } of [...names, { name: moduleLayout }]) {
    if (name === "__this_module") continue;
    const entry = symvers.get(name);
    if (!isVersioned && name === moduleLayout) continue;
    if (entry === undefined || name.length >= versionNameSize) return undefined;
    if (!isVersioned) continue;
    // The loader takes a symbol of its own without a version for one of a kernel without versions.
    if (entry.crc === 0) return undefined;
    versions.push({ name, crc: entry.crc });
  }
  return versions;
}

function versionTable(versions: readonly SymbolVersion[], littleEndian: boolean): Uint8Array {
  const data = new Uint8Array(versions.length * versionEntrySize);
  const view = new DataView(data.buffer);
  for (const [index, { name, crc }] of versions.entries()) {
    const at = index * versionEntrySize;
    view.setUint32(at + (littleEndian ? 0 : 4), crc, littleEndian);
    data.set(Buffer.from(name, "latin1"), at + 8);
  }
  return data;
}

function infoTexts(elf: ElfReader): string[] {
  const data = elf.section(".modinfo")?.data ?? new Uint8Array(0);
  return Buffer.from(data).toString("latin1").split("\0").filter(Boolean);
}

function occurrences(data: Uint8Array, name: string): number {
  return Buffer.from(data).toString("latin1").split(`${name}\0`).length - 1;
}

/** The name's field in `struct module`, filled with another name and zeros. */
function renamed(data: Uint8Array, from: string, to: string): Uint8Array {
  const copy = Buffer.from(data);
  const at = copy.indexOf(`${from}\0`, 0, "latin1");
  copy.fill(0, at, at + from.length);
  copy.write(to, at, "latin1");
  return copy;
}

function plain({ name, type, flags, alignment, entrySize, data }: Section) {
  return { name, type, flags, alignment, entrySize, data };
}
