import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { type ModuleTemplate, moduleTemplate } from "../../src/build/assemble/kbuild-template.ts";
import { moduleInfoObject } from "../../src/build/assemble/module-sections.ts";
import { draftOf, draftSection } from "../../src/elf/builder.ts";
import { SectionType, SpecialSection } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { readVersions } from "../../src/elf/symbol-versions.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { compareCompiler, toolchainFolder } from "../../src/kernel/compiler.ts";
import { type ExportedSymbols, joinSymbols, readSymvers, type SymversEntry } from "../../src/kernel/modules/symvers.ts";
import { stockKernel } from "./stock-kernel.ts";

let template: ModuleTemplate;
let symvers: ExportedSymbols;

beforeAll(async () => {
  const { kernel, tree } = await stockKernel();
  const compiler = await compareCompiler(kernel.image.banner);
  template = await moduleTemplate(tree, toolchainFolder(kernel.folder, compiler));
  symvers = await readSymvers(kernel.symversPath);
});

/** The glue: the only symbols it uses that the kernel does not export are those of the tables, which every patch module brings. */
function withoutTables(): Uint8Array {
  const draft = draftOf(new ElfReader(readFileSync(template.glue)));
  for (const symbol of draft.symbols)
    if (/^kmend_(unit|replace|stays|kernel)/.test(symbol.name)) symbol.section = SpecialSection.abs;
  return writeObject(draft);
}

function bytes(object: Uint8Array, name: string): Buffer {
  return Buffer.from(new ElfReader(object).section(name)?.data ?? []);
}

describe("module information", () => {
  test("for the template itself is what modpost wrote for it", () => {
    const made = moduleInfoObject(template.moduleInfo, withoutTables(), template.moduleInfo.name, symvers);
    const original = template.moduleInfo.object;
    expect(made).toBeDefined();
    for (const name of [".modinfo", ".gnu.linkonce.this_module", "__versions", ".note.Linux"])
      expect(bytes(made as Uint8Array, name).equals(bytes(original, name)), name).toBe(true);
    const relocations = (file: Uint8Array): unknown[] => {
      const elf = new ElfReader(file);
      const structure = elf.section(".gnu.linkonce.this_module");
      return (structure === undefined ? [] : elf.relocationsFor(structure.index)).map(
        ({ offset, type, symbol, addend }) => [offset, type, elf.symbols[symbol]?.name, addend],
      );
    };
    expect(relocations(made as Uint8Array)).toEqual(relocations(original));
  });

  test("with another name", () => {
    const made = moduleInfoObject(
      template.moduleInfo,
      withoutTables(),
      "a_much_longer_name_than_that_of_the_template",
      symvers,
    );
    expect(bytes(made as Uint8Array, ".modinfo").toString()).toContain(
      "\0name=a_much_longer_name_than_that_of_the_template\0",
    );
    const structure = bytes(made as Uint8Array, ".gnu.linkonce.this_module").toString("latin1");
    expect(structure).toContain("\0a_much_longer_name_than_that_of_the_template\0");
    expect(structure).not.toContain(template.moduleInfo.name);
  });

  test("of a kernel without versions of symbols has none, and is left to modpost for a symbol that is not exported", () => {
    const draft = draftOf(new ElfReader(template.moduleInfo.object));
    const versions = draft.sections.find(({ name }) => name === "__versions");
    Object.assign(versions ?? {}, { name: ".unused", nameOffset: undefined, flags: 0 });
    const like = { ...template.moduleInfo, object: writeObject(draft) };
    const get = (name: string): SymversEntry | undefined => {
      const entry = name === "module_layout" ? undefined : symvers.get(name);
      return entry === undefined ? undefined : { ...entry, crc: 0 };
    };
    const unversioned = { ...symvers, get };
    const made = moduleInfoObject(like, withoutTables(), template.moduleInfo.name, unversioned);
    expect(bytes(made as Uint8Array, ".modinfo").equals(bytes(template.moduleInfo.object, ".modinfo"))).toBe(true);
    expect(new ElfReader(made as Uint8Array).section("__versions")).toBeUndefined();
    expect(moduleInfoObject(like, readFileSync(template.glue), "a", unversioned)).toBeUndefined();
  });

  test("is left to modpost where the template's versions are not those of the kernel", () => {
    const [first] = readVersions(new ElfReader(template.moduleInfo.object));
    const entry = symvers.get(first?.name ?? "") as SymversEntry;
    const other = joinSymbols([new Map([[entry.name, { ...entry, crc: entry.crc + 1 }]]), symvers]);
    expect(moduleInfoObject(template.moduleInfo, withoutTables(), "a", other)).toBeUndefined();
  });

  test("is left to modpost for a symbol that the kernel does not export", () => {
    expect(moduleInfoObject(template.moduleInfo, readFileSync(template.glue), "a", symvers)).toBeUndefined();
  });

  test("is left to modpost for a module that exports symbols", () => {
    const draft = draftOf(new ElfReader(withoutTables()));
    draft.sections.push(draftSection({ name: ".export_symbol", type: SectionType.progbits }));
    expect(moduleInfoObject(template.moduleInfo, writeObject(draft), "a", symvers)).toBeUndefined();
  });
});
