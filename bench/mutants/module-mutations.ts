import { SectionFlag, SectionType, SHDR_SIZE, SpecialSection, SYM_SIZE } from "../../src/elf/constants.ts";
import type { Section } from "../../src/elf/model.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { sha256 } from "../../src/support/cache.ts";

/** Which part of a finished module a mutation changes. */
export type ModulePart =
  | "code"
  | "data"
  | "table"
  | "relocation"
  | "addend"
  | "symbol"
  | "livepatch symbol"
  | "name"
  | "section header"
  | "manifest"
  | "modinfo"
  | "dropped section";

export interface ModuleMutation {
  readonly part: ModulePart;
  /** Section and offset, for a person. */
  readonly where: string;
  readonly module: Uint8Array;
}

/** A place that one bit or more of can be changed. */
interface Field {
  readonly part: ModulePart;
  readonly where: string;
  /** Offset in the file. */
  readonly at: number;
}

const tables =
  /^(\.altinstructions|\.parainstructions|\.smp_locks|\.retpoline_sites|\.return_sites|\.call_sites|\.orc_|__\w+|\.static_call)/;

/** Makes the same mutations of a module for the same seed: each changes one byte, or drops one section. */
export class ModuleMutator {
  readonly #module: Uint8Array;
  readonly #elf: ElfReader;
  readonly #seed: string;

  constructor(module: Uint8Array, seed: string) {
    this.#module = module;
    this.#elf = new ElfReader(module);
    this.#seed = seed;
  }

  /** Mutation of a number; every part has its turn. */
  mutation(number: number): ModuleMutation {
    const random = new Draws(sha256(this.#seed, String(number)));
    const part = parts[number % parts.length] as ModulePart;
    const field = part === "dropped section" ? undefined : this.#field(part, random);
    if (field === undefined) return this.#dropped(random);
    const module = Uint8Array.from(this.#module);
    module[field.at] = (module[field.at] as number) ^ (1 + random.below(255));
    return { part: field.part, where: field.where, module };
  }

  #field(part: ModulePart, random: Draws): Field | undefined {
    const within = (sections: readonly Section[], into?: (section: Section) => number): Field | undefined => {
      const section = sections[random.below(Math.max(1, sections.length))];
      if (section === undefined) return undefined;
      const offset = into?.(section) ?? random.below(section.size);
      return { part, where: `${section.name}+0x${offset.toString(16)}`, at: section.offset + offset };
    };
    const { sections } = this.#elf;
    const kept = sections.filter(({ size, type }) => size > 0 && type !== SectionType.nobits);
    const loaded = kept.filter(({ flags, type }) => (flags & SectionFlag.alloc) !== 0 && type === SectionType.progbits);
    const relas = kept.filter(
      ({ type, info }) => type === SectionType.rela && ((sections[info]?.flags ?? 0) & SectionFlag.alloc) !== 0,
    );
    const symbols = kept.filter(({ type }) => type === SectionType.symtab);
    switch (part) {
      case "code":
        return within(loaded.filter(({ flags }) => (flags & SectionFlag.execinstr) !== 0));
      case "data":
        return within(
          loaded.filter(
            ({ flags, name }) => (flags & SectionFlag.execinstr) === 0 && !tables.test(name) && name !== ".modinfo",
          ),
        );
      case "table":
        return within(loaded.filter(({ name }) => tables.test(name)));
      case "relocation":
        return within(relas, ({ size }) => random.below(size / 24) * 24 + random.below(16));
      case "addend":
        return within(relas, ({ size }) => random.below(size / 24) * 24 + 16 + random.below(8));
      case "symbol":
        return within(symbols, ({ size }) => (1 + random.below(size / SYM_SIZE - 1)) * SYM_SIZE + random.below(16));
      case "livepatch symbol": {
        const marked = this.#elf.symbols.filter(({ section }) => section === SpecialSection.livepatch);
        const chosen = marked[random.below(Math.max(1, marked.length))];
        return chosen === undefined
          ? undefined
          : within(symbols, () => chosen.index * SYM_SIZE + random.below(SYM_SIZE));
      }
      case "name":
        return within(kept.filter(({ name }) => name === ".strtab" || name === ".shstrtab"));
      case "section header": {
        const at =
          this.#elf.header.sectionHeaderOffset +
          (1 + random.below(sections.length - 1)) * SHDR_SIZE +
          random.below(SHDR_SIZE);
        return { part, where: `section headers+0x${at.toString(16)}`, at };
      }
      case "manifest":
        return within(kept.filter(({ name }) => name.startsWith(".note.kmend")));
      case "modinfo":
        return within(kept.filter(({ name }) => name === ".modinfo"));
      case "dropped section":
        return undefined;
    }
  }

  /** The type of a section header becomes SHT_NULL: no reader sees its section any more. */
  #dropped(random: Draws): ModuleMutation {
    const { sections, header } = this.#elf;
    const index = 1 + random.below(sections.length - 1);
    const module = Uint8Array.from(this.#module);
    module.fill(
      0,
      header.sectionHeaderOffset + index * SHDR_SIZE + 4,
      header.sectionHeaderOffset + index * SHDR_SIZE + 8,
    );
    return { part: "dropped section", where: sections[index]?.name ?? "", module };
  }
}

const parts: readonly ModulePart[] = [
  ...(["code", "data", "table", "relocation", "addend", "symbol", "livepatch symbol"] as const),
  ...(["name", "section header", "manifest", "modinfo", "dropped section"] as const),
];

/** Numbers out of a digest, four hexadecimal digits each. */
class Draws {
  readonly #digits: string;
  #at = 0;

  constructor(digits: string) {
    this.#digits = digits;
  }

  below(limit: number): number {
    const number = Number.parseInt(this.#digits.slice(this.#at, this.#at + 8), 16);
    this.#at = (this.#at + 8) % (this.#digits.length - 8);
    return number % Math.max(1, Math.floor(limit));
  }
}
