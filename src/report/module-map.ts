import { callbackKinds } from "../diff/author-marks.ts";
import { specialSections } from "../diff/special-sections/special-sections.ts";
import { SectionFlag, SectionType, SymbolType } from "../elf/constants.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { callbacksOf } from "../patch-module/functions-in-force.ts";
import type { Manifest } from "../patch-module/manifest.ts";
import { readManifest, staysInMemory } from "../patch-module/manifest-note.ts";
import { readModinfo } from "../patch-module/modinfo.ts";
import { isSigned } from "../patch-module/module-signature.ts";

/** What a patch module consists of. */
export interface ModuleMap {
  readonly sections: readonly ModuleSection[];
  /** Bytes that it takes in the kernel's memory while it is loaded. */
  readonly memory: number;
  /** Livepatch relocations, by the object whose symbols they are. */
  readonly relocations: readonly ModuleRelocations[];
  /** Symbols that the module loader resolves. */
  readonly imports: readonly string[];
  readonly tables: readonly { readonly name: string; readonly noun: string; readonly bytes: number }[];
  readonly modinfo: readonly { readonly key: string; readonly value: string }[];
  /** Functions that the livepatch core calls around a transition; empty for a module of another tool, of which they are not known. */
  readonly callbacks: readonly ModuleCallback[];
  readonly signed: boolean;
  readonly replacesAll: boolean | null;
  /** What is left of it in memory once it was unloaded, as one sentence. */
  readonly afterUnload: string;
  /** Why addresses of it may be kept. */
  readonly keptAddresses: readonly string[];
}

export interface ModuleSection {
  readonly name: string;
  readonly bytes: number;
  readonly kind: "code" | "data" | "read-only data" | "livepatch relocations" | "relocations" | "information";
  readonly isLoaded: boolean;
}

/** A function that the livepatch core calls when an object is patched or unpatched. */
export interface ModuleCallback {
  readonly object: string;
  /** `pre_patch`, `post_patch`, `pre_unpatch` or `post_unpatch`. */
  readonly kind: string;
  readonly function: string;
}

export interface ModuleRelocations {
  readonly object: string;
  readonly section: string;
  readonly count: number;
  readonly symbols: readonly string[];
}

/** SHF_RELA_LIVEPATCH of include/uapi/linux/elf.h. */
const livepatchFlag = 0x0010_0000;

/** Reads the map of a finished module. @throws ElfFormatError */
export function moduleMapOf(content: Uint8Array): ModuleMap {
  const elf = new ElfReader(content);
  const manifest = readManifest(elf);
  const sections = elf.sections.filter(({ name }) => name !== "").map(sectionOf);
  const relocations = elf.sections
    .filter(({ flags }) => (flags & livepatchFlag) !== 0)
    .map((section) => {
      const entries = elf.relocations(section);
      const symbols = entries.map(({ symbol }) => elf.symbols[symbol]?.name ?? "");
      const [, object = "", place = ""] = /^\.klp\.rela\.([^.]+)\.(.*)$/.exec(section.name) ?? [];
      return {
        object,
        section: place,
        count: entries.length,
        symbols: [...new Set(symbols)].map((name) => name.replace(/^\.klp\.sym\.[^.]+\./, "")).sort(),
      };
    });
  return {
    sections,
    memory: sections.reduce((sum, { bytes, isLoaded }) => sum + (isLoaded ? bytes : 0), 0),
    relocations,
    imports: elf.symbols
      .filter((symbol) => symbol.index > 0 && !isDefined(symbol) && symbol.section === 0 && symbol.name !== "")
      .map(({ name }) => name)
      .sort(),
    tables: specialSections.flatMap(({ table, noun }) => {
      const bytes = elf.section(table)?.size ?? 0;
      return bytes === 0 ? [] : [{ name: table, noun, bytes }];
    }),
    modinfo: [...readModinfo(elf)].flatMap(([key, values]) => values.map((value) => ({ key, value }))),
    callbacks: callbacksIn(elf),
    signed: isSigned(content),
    replacesAll: manifest?.replace ?? null,
    afterUnload: afterUnload(manifest),
    keptAddresses: manifest?.keptAddresses ?? [],
  };
}

function callbacksIn(elf: ElfReader): ModuleCallback[] {
  return callbacksOf(elf).map(({ object, kind, section, offset }) => {
    const code = elf.symbols.find(
      (symbol) => symbol.type === SymbolType.func && symbol.section === section && symbol.value === offset,
    );
    return { object, kind: callbackKinds[kind] ?? `${kind}`, function: code?.name ?? "of no name" };
  });
}

function sectionOf({ name, size, type, flags }: ElfReader["sections"][number]): ModuleSection {
  const isLoaded = (flags & SectionFlag.alloc) !== 0;
  const kind = (): ModuleSection["kind"] => {
    if ((flags & livepatchFlag) !== 0) return "livepatch relocations";
    if (type === SectionType.rela) return "relocations";
    if (!isLoaded) return "information";
    if ((flags & SectionFlag.execinstr) !== 0) return "code";
    return (flags & SectionFlag.write) !== 0 ? "data" : "read-only data";
  };
  return { name, bytes: size, kind: kind(), isLoaded };
}

function afterUnload(manifest: Manifest | undefined): string {
  if (manifest === undefined) return "the module has no manifest, so nothing is known of what may be left";
  if (staysInMemory(manifest))
    return "it is not unloaded: it stays in memory until the next boot, since addresses of it may be kept";
  if (manifest.removable === true)
    return "nothing by its author's word (--removable), though addresses of it may be kept";
  return "nothing: no address of it is kept";
}
