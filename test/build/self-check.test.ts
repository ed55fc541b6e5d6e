import { expect, test } from "vitest";
import { selfCheck } from "../../src/build/assemble/self-check.ts";
import { draftSymbol } from "../../src/elf/builder.ts";
import { Binding, RelocationX86 as R, SectionFlag, SpecialSection } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { type LoaderFacts, loaderFactsOf } from "../../src/kernel/modules/loader-facts.ts";
import { expected, type FinishedModule, finishedModule, writeModule } from "./finished-module.ts";

function problems(damage: (module: FinishedModule) => void, other: Partial<typeof expected> = {}): string[] {
  const module = finishedModule();
  damage(module);
  return selfCheck(writeModule(module), { ...expected, ...other });
}

/** What the loader compares of a module. */
function factsOf(module: FinishedModule): LoaderFacts {
  return loaderFactsOf(new ElfReader(writeModule(module)));
}

test("a sound module has no problem", () => {
  expect(problems(() => {})).toEqual([]);
});

const kinds: [string, (module: FinishedModule) => void, string][] = [
  [
    "a vermagic of another kernel",
    ({ info }) => info.set("vermagic", "6.1.0-8-amd64 SMP"),
    'vermagic is "6.1.0-8-amd64 SMP" and not for 6.1.0-9-amd64',
  ],
  ["no vermagic", ({ info }) => info.delete("vermagic"), 'vermagic is "" and not for 6.1.0-9-amd64'],
  ["no livepatch mark", ({ info }) => info.delete("livepatch"), "modinfo does not mark it as a livepatch module"],
  [
    "another licence",
    ({ info }) => info.set("license", "BSD"),
    "the licence is not GPL, which livepatch functions are exported for",
  ],
  ["another name", ({ info }) => info.set("name", "kmend_template"), "modinfo names it kmend_template"],
  [
    "a dependency on a module of which it uses nothing",
    ({ info }) => info.set("depends", "fuse"),
    'modinfo says that it depends on "fuse", and it uses what "" exports',
  ],
  [
    "no struct module",
    ({ section }) => {
      section(".gnu.linkonce.this_module").name = ".data";
    },
    "it has no struct module",
  ],
  [
    "another version of a symbol",
    ({ add }) => {
      const data = new Uint8Array(64);
      data[0] = 2;
      data.set(Buffer.from("_printk"), 8);
      add("__versions", data);
    },
    "it has not the kernel's version of _printk",
  ],
  [
    "no version of a symbol",
    ({ add }) => {
      add("__versions", new Uint8Array(0));
    },
    "it has not the kernel's version of _printk",
  ],
  [
    "a place that is not zero",
    ({ text }) => {
      text.data[12] = 1;
    },
    ".klp.rela.vmlinux..text+0xb: the place does not hold zero",
  ],
  [
    "an unknown type",
    ({ klp }) => {
      (klp.relocations[0] as { type: number }).type = R.gotpcrel;
    },
    ".klp.rela.vmlinux..text+0xb: the loader does not know relocation type 9",
  ],
  [
    "an unknown type in an ordinary relocation",
    ({ section }) => {
      (section(".rela.text").relocations[0] as { type: number }).type = 42;
    },
    ".rela.text+0x6: the loader does not know relocation type 42",
  ],
  [
    "a place behind the end",
    ({ klp }) => {
      (klp.relocations[0] as { offset: number }).offset = 13;
    },
    ".klp.rela.vmlinux..text+0xd: outside of .text",
  ],
  [
    "a place before the start",
    ({ section }) => {
      (section(".rela.text").relocations[0] as { offset: number }).offset = -1;
    },
    ".rela.text+0x-1: outside of .text",
  ],
  [
    "a livepatch symbol in an ordinary relocation",
    ({ section, klpSymbol }) => {
      (section(".rela.text").relocations[0] as { symbol: unknown }).symbol = klpSymbol;
    },
    ".rela.text+0x6: an ordinary relocation uses the livepatch symbol .klp.sym.vmlinux.hidden,2",
  ],
  [
    "an ordinary symbol in a livepatch relocation",
    ({ klpSymbol }) => {
      klpSymbol.section = 0;
    },
    ".klp.rela.vmlinux..text+0xb: .klp.sym.vmlinux.hidden,2 is not marked as a livepatch symbol",
  ],
  [
    "a livepatch symbol without a position",
    ({ klpSymbol }) => {
      klpSymbol.name = ".klp.sym.vmlinux.hidden";
    },
    ".klp.rela.vmlinux..text+0xb: .klp.sym.vmlinux.hidden is not .klp.sym.<object>.<name>,<position>",
  ],
  [
    "a symbol name that the kernel would cut off",
    ({ klpSymbol }) => {
      klpSymbol.name = `.klp.sym.vmlinux.${"x".repeat(512)},0`;
    },
    `.klp.rela.vmlinux..text+0xb: .klp.sym.vmlinux.${"x".repeat(512)},0 is not .klp.sym.<object>.<name>,<position>`,
  ],
  [
    "a symbol of vmlinux in the section of a module",
    ({ klp }) => {
      klp.name = ".klp.rela.fuse..text";
    },
    ".klp.rela.fuse..text+0xb: a symbol of vmlinux in the section of fuse",
  ],
  [
    "livepatch relocations under another name",
    ({ klp }) => {
      klp.name = ".rela.klp";
    },
    ".rela.klp: the name is not .klp.rela.<object>.<section>",
  ],
  [
    "livepatch relocations without their flag",
    ({ klp }) => {
      klp.flags = SectionFlag.alloc;
    },
    ".klp.rela.vmlinux..text: type or flags are wrong",
  ],
  [
    "livepatch relocations without the symbol table",
    ({ klp, text }) => {
      klp.link = text;
    },
    ".klp.rela.vmlinux..text: it is not linked to the symbol table",
  ],
  [
    "livepatch relocations for what is not in memory",
    ({ klp, draft }) => {
      klp.info = draft.stringTable;
    },
    ".klp.rela.vmlinux..text: the section that it patches is not in memory",
  ],
  [
    "a table twice",
    ({ add }) => {
      add("__bug_table", new Uint8Array(12));
      add("__bug_table", new Uint8Array(12));
    },
    "section __bug_table is there twice, and the loader reads one",
  ],
  [
    "the list of places",
    ({ add }) => {
      add(".kmend.places", new Uint8Array(8));
    },
    "section .kmend.places should be gone",
  ],
  [
    "a common block",
    ({ draft }) => {
      draft.symbols.push(draftSymbol({ name: "shared", section: SpecialSection.common, binding: Binding.global }));
    },
    "symbol shared is in a common block, which the loader refuses",
  ],
  [
    "no unwind data",
    ({ section }) => {
      section(".orc_unwind").name = ".other";
    },
    "it has no ORC unwind data",
  ],
  [
    "unwind halves that do not agree",
    ({ section }) => {
      section(".orc_unwind_ip").data = new Uint8Array(16);
    },
    ".orc_unwind and .orc_unwind_ip do not have equally many entries",
  ],
  [
    "code that unwind data does not cover",
    ({ add }) => {
      add(".text.more", new Uint8Array(4), SectionFlag.alloc | SectionFlag.execinstr);
    },
    ".text.more has no ORC unwind data",
  ],
  [
    "too few ftrace entries",
    ({ section }) => {
      section("__mcount_loc").data = new Uint8Array(0);
      section(".rela__mcount_loc").relocations = [];
    },
    "__mcount_loc has 0 entries for 1 replaced functions",
  ],
];

test.each(kinds)("%s is found", (_, damage, problem) => {
  expect(problems(damage)).toContain(problem);
});

test("every symbol that the loader resolves has to be exported by the kernel or a module that is depended on", () => {
  const rename =
    (name: string) =>
    (module: FinishedModule): void => {
      const symbol = module.draft.symbols.find((candidate) => candidate.name === "_printk");
      (symbol as { name: string }).name = name;
    };
  expect(problems(rename("hidden"))).toEqual([".rela.text+0x6: the kernel does not export hidden"]);
  expect(problems(rename("fuse_get"))).toEqual(['modinfo says that it depends on "", and it uses what "fuse" exports']);
  const held = (module: FinishedModule): void => {
    rename("fuse_get")(module);
    module.info.set("depends", "fuse");
  };
  expect(problems(held)).toEqual([]);
  const weak = problems((module) => {
    rename("hidden")(module);
    const symbol = module.draft.symbols.find((candidate) => candidate.name === "hidden");
    (symbol as { binding: number }).binding = Binding.weak;
  });
  expect(weak).toEqual([]);
});

test("a name of more than 55 characters does not fit into struct module", () => {
  const name = "x".repeat(56);
  expect(problems(({ info }) => info.set("name", name), { name })).toEqual([
    `the name ${name} is longer than 55 characters`,
  ]);
});

test.each(["__jump_table", ".static_call_sites", ".altinstructions"])(
  "%s may not wait for a module: the kernel reads it before",
  (table) => {
    const found = problems((module) => {
      const section = module.add(table, new Uint8Array(16));
      module.klp.name = `.klp.rela.fuse.${table}`;
      module.klp.info = section;
      module.klpSymbol.name = ".klp.sym.fuse.key,0";
      (module.klp.relocations[0] as { offset: number }).offset = 8;
    });
    expect(found).toContain(`.klp.rela.fuse.${table}: ${table} is used before this relocation is written`);
  },
);

test("all problems are told, not the first", () => {
  const found = problems(({ info, text }) => {
    info.delete("livepatch");
    info.set("depends", "fuse");
    text.data[12] = 1;
  });
  expect(found).toHaveLength(3);
});

test("a file that is cut off is damage, not a problem of the module", () => {
  const file = writeModule(finishedModule());
  expect(() => selfCheck(file.subarray(0, file.length - 100), expected)).toThrow(
    expect.objectContaining({ code: "ELF_FORMAT" }),
  );
});

test("struct module and vermagic have to be those of a module that the kernel ships", () => {
  const shipped = finishedModule();
  expect(problems(() => {}, { shipped: factsOf(shipped) })).toEqual([]);
  shipped.section(".gnu.linkonce.this_module").data = new Uint8Array(128);
  shipped.info.set("vermagic", "6.1.0-9-amd64 SMP mod_unload modversions ");
  expect(problems(() => {}, { shipped: factsOf(shipped) })).toEqual([
    'vermagic is "6.1.0-9-amd64 SMP preempt mod_unload modversions ", and the kernel\'s own modules have "6.1.0-9-amd64 SMP mod_unload modversions "',
    "struct module has 64 bytes, and 128 in the kernel's own modules",
  ]);
});
