import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Extract, extractUnit, placesSection } from "../../src/build/assemble/extract.ts";
import type { Reach } from "../../src/build/resolve/resolve.ts";
import { RelocationX86 as R, SymbolType } from "../../src/elf/constants.ts";
import type { Section } from "../../src/elf/model.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { atom, diffPatched, type UnitDiff } from "../diff/diff-units.ts";

const macros = readFileSync(new URL("../fixtures/kernel-tables.h", import.meta.url), "utf8");

/** As if everything of the unit and every name that begins with `hidden` were reached by livepatch relocations. */
function extract(diff: UnitDiff, object = "vmlinux"): Extract {
  const klp = (name: string): Reach => ({ by: "klp", symbol: { object, name, sympos: 1, offset: 0 }, proof: "" });
  return extractUnit({
    unit: diff.patched,
    selection: diff.selection,
    redirections: diff.redirected.map((name) => ({
      atom: atom(diff.patched, name),
      oldName: name,
      sympos: 2,
      address: 0,
      size: 1,
    })),
    callbacks: [],
    object,
    number: 3,
    reachOriginal: (original) => klp(original.name),
    reachExternal: (name) =>
      name.startsWith("hidden") ? klp(name) : { by: "loader", name, owner: undefined, proof: "" },
  });
}

/** What a relocation means, as `offset type symbol+addend`; section symbols by the name of what stands there. */
function relocations(elf: ElfReader, name: string): string[] {
  const section = elf.section(name) as Section;
  return elf.relocationsFor(section.index).map(({ offset, type, symbol, addend }) => {
    const target = elf.symbols[symbol];
    return `${offset} ${type} ${target?.name}${addend < 0 ? addend : `+${addend}`}`;
  });
}

const change = "\n#ifdef PATCHED\n x = x * 3 + 1;\n#endif\n";

test("a changed function keeps its bytes, and its relocations go to the loader or to livepatch places", async () => {
  const diff = await diffPatched(`
    static int counter;
    extern int hidden(int);
    static noinline int helper(int x) { counter++; return take(x); }
    int f(int x) { ${change} counter += helper(x); return take(x) + hidden(x); }
  `);
  const { object, klpRelocations } = extract(diff);
  const elf = new ElfReader(object);
  const f = elf.symbols.find(({ name }) => name === "f");
  const patched = atom(diff.patched, "f");
  expect(f).toMatchObject({ binding: 0, type: 2, size: patched.bytes.length });
  expect(elf.sections[f?.section ?? 0]?.name).toBe(".text");
  const bytes = elf.section(".text")?.data.subarray(f?.value, (f?.value ?? 0) + patched.bytes.length);
  expect(Buffer.from(bytes ?? []).equals(Buffer.from(patched.bytes))).toBe(true);
  // What the loader resolves stays an ordinary relocation.
  expect(relocations(elf, ".text").map((text) => text.replace(/^\d+ /, ""))).toEqual([
    `${R.plt32} __fentry__-4`,
    `${R.plt32} take-4`,
  ]);
  expect(klpRelocations.map(({ symbol, type, addend }) => `${type} ${symbol.name} ${addend}`)).toEqual(
    expect.arrayContaining([`${R.pc32} helper -4`, `${R.pc32} counter -4`, `${R.plt32} hidden -4`]),
  );
  // The nth place is where the nth livepatch relocation goes, and it holds zero.
  const places = relocations(elf, placesSection);
  expect(places).toHaveLength(klpRelocations.length);
  klpRelocations.forEach(({ offset }, at) => {
    expect(places[at]).toBe(`${8 * at} ${R.abs64} .text+${offset}`);
    expect([...(elf.section(".text")?.data.subarray(offset, offset + 4) ?? [])]).toEqual([0, 0, 0, 0]);
  });
});

test("the table of redirections holds name, new function and position", async () => {
  const diff = await diffPatched(
    `int f(int x) { ${change} return take(x); } int g(int x) { ${change} return take(x + 4); }`,
  );
  for (const object of ["vmlinux", "fuse"]) {
    const elf = new ElfReader(extract(diff, object).object);
    const table = elf.symbols.find(({ name }) => name === "kmend_funcs_3");
    const section = elf.sections[table?.section ?? 0] as Section;
    expect(section.name).toBe(".data.kmend");
    expect(table?.size).toBe(64);
    const strings = Buffer.from(elf.section(".rodata.kmend.str")?.data ?? []).toString("latin1");
    const texts = relocations(elf, ".data.kmend").map((text) => {
      const [, place, name, addend] = /^(\d+) 1 (\S+)\+(\d+)$/.exec(text) ?? [];
      if (name !== ".rodata.kmend.str") {
        const symbol = elf.symbols.find(({ value, type }) => type === 2 && value === Number(addend));
        return `${place} ${symbol?.name}`;
      }
      return `${place} "${strings.slice(Number(addend), strings.indexOf("\0", Number(addend)))}"`;
    });
    const owner = object === "vmlinux" ? [] : [`0 "fuse"`, `32 "fuse"`];
    expect(texts.sort()).toEqual([...owner, '8 "f"', "16 f", '40 "g"', "48 g"].sort());
    expect(Buffer.from(section.data).readBigUInt64LE(24)).toBe(2n);
    expect(Buffer.from(section.data).readBigUInt64LE(56)).toBe(2n);
  }
});

test("a branch that the assembler had resolved becomes a relocation over zeros", async () => {
  const diff = await diffPatched(`
    __sched noinline int first(int x) { return take(x); }
    __sched int second(int x) { ${change} return first(x) + 1; }
  `);
  const { object, klpRelocations } = extract(diff);
  const call = klpRelocations.find(({ symbol }) => symbol.name === "first");
  expect(call).toMatchObject({ type: R.plt32, addend: -4, section: ".text" });
  const text = new ElfReader(object).section(".text")?.data ?? new Uint8Array(0);
  expect([...text.subarray((call?.offset ?? 1) - 1, (call?.offset ?? 0) + 4)]).toEqual([0xe8, 0, 0, 0, 0]);
});

test("texts and constants share .rodata, variables keep their kind of section and their alignment", async () => {
  const diff = await diffPatched(`
    int f(int x);
    #ifdef PATCHED
    static int zero[8] __attribute__((aligned(64)));
    static int set = 7;
    static const int table[] = { 5, 6, 7, 8 };
    int f(int x) { printk("first"); outside(zero); outside(&set); printk("second %d", table[x & 3]); return x; }
    #else
    int f(int x) { return x; }
    #endif
  `);
  const elf = new ElfReader(extract(diff).object);
  const home = (name: string): string => {
    const symbol = elf.symbols.find((candidate) => candidate.name === name);
    return elf.sections[symbol?.section ?? 0]?.name ?? "nowhere";
  };
  expect([home("zero"), home("set"), home("table")]).toEqual([".bss", ".data", ".rodata"]);
  expect(elf.section(".bss")).toMatchObject({ alignment: 64, size: 32 });
  const rodata = Buffer.from(elf.section(".rodata")?.data ?? []).toString("latin1");
  expect(rodata).toContain("first\0");
  expect(rodata).toContain("second %d\0");
  expect(elf.section(".rodata")?.flags).toBe(2);
  expect(elf.sections.filter(({ name }) => name === ".rodata")).toHaveLength(1);
});

test("tables hold the entries of carried functions, with their relocations moved", async () => {
  const diff = await diffPatched(`${macros}\n#line 1
    static struct static_key key;
    int before(int x) { bug(1); if (static_branch(&key)) return 4; return take(x); }
    int f(int x) { ${change} bug(17); if (static_branch(&key)) return take(4); return take(x); }
  `);
  const { object, klpRelocations, tableBytes } = extract(diff);
  expect(tableBytes).toEqual({ __bug_table: 12, __jump_table: 16, __mcount_loc: 8 });
  const elf = new ElfReader(object);
  expect(Buffer.from(elf.section("__bug_table")?.data ?? []).readUInt16LE(10)).toBe(17);
  const bug = relocations(elf, "__bug_table");
  expect(bug[0]).toMatch(/^0 2 \.text\+\d+$/);
  expect(bug[1]).toMatch(/^4 2 \.rodata\+\d+$/);
  const jump = relocations(elf, "__jump_table");
  expect(jump).toHaveLength(2);
  const key = klpRelocations.find(({ symbol }) => symbol.name === "key");
  expect(key).toMatchObject({ section: "__jump_table", offset: 8, type: R.pc64, addend: 0 });
  // The entry of ftrace is the call at the function's start.
  const entry = elf.symbols.find(({ name }) => name === "f")?.value;
  expect(relocations(elf, "__mcount_loc")).toEqual([`0 ${R.abs64} .text+${entry}`]);
});

test("two halves of a function reach each other", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    int f(int x) { if (x == 77) { complain("bad"); return take(4); } ${change} return take(x); }
  `);
  const elf = new ElfReader(extract(diff).object);
  const f = elf.symbols.find((symbol) => symbol.name === "f");
  const { alignment } = atom(diff.patched, "f.cold").section;
  // The kernel takes the cold part for a part of the function: it lies right behind it and has no name (stack-check-order.ts).
  const cold = Math.ceil(((f?.value ?? 0) + (f?.size ?? 0)) / alignment) * alignment;
  const text = elf.section(".text")?.index;
  const named = elf.symbols.filter(({ type, section }) => type === SymbolType.func && section === text);
  expect(named.map(({ name }) => name)).toEqual(["f"]);
  const jump = atom(diff.patched, "f").references.find(
    ({ target }) => target.kind === "atom" && target.atom.name === "f.cold",
  );
  const addend = cold - 4;
  expect(relocations(elf, ".text")).toContain(
    `${(f?.value ?? 0) + (jump?.offset ?? 0)} ${jump?.type} .text${addend < 0 ? "" : "+"}${addend}`,
  );
});

test("a new global symbol stays global, a changed function does not clash with the kernel's", async () => {
  const diff = await diffPatched(`
    int f(int x) { ${change} return take(x); }
    #ifdef PATCHED
    int added = 5;
    int brand_new(int x) { return f(x) + added; }
    #endif
  `);
  const elf = new ElfReader(extract(diff).object);
  const binding = (name: string): number | undefined => elf.symbols.find((symbol) => symbol.name === name)?.binding;
  expect([binding("f"), binding("added"), binding("brand_new")]).toEqual([0, 1, 1]);
});

test("the same unit gives the same bytes", async () => {
  const diff = await diffPatched(`int f(int x) { ${change} printk("text"); return take(x); }`);
  expect(Buffer.compare(extract(diff).object, extract(diff).object)).toBe(0);
});

test("code that refers to an entry of a table refers to its copy", async () => {
  const diff = await diffPatched(
    `${macros}\n#line 1\n
    int before(int x) { warning("one", 1); return take(x); }
    int f(int x) { ${change} warning("two", 1); return take(x); }
    int g(int x) { warning("three", 1); return take(x); }
    int h(int x) { warning("four", 1); ${change} warning("five", 1); return take(x); }
  `,
  );
  const elf = new ElfReader(extract(diff).object);
  const table = elf.section("__bug_table") as Section;
  expect(table.size).toBe(48);
  const entries = elf.relocationsFor((elf.section(".text") as Section).index).flatMap(({ symbol, type, addend }) => {
    const { section, type: kind } = elf.symbols[symbol] as { section: number; type: number };
    return section === table.index && kind === SymbolType.section ? [`${type} ${addend}`] : [];
  });
  expect(entries).toEqual([`${R.pc32} -4`, `${R.pc32} 12`, `${R.pc32} 28`]);
});
