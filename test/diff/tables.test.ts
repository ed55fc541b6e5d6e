import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { assemble, compileC } from "../fixtures/compile.ts";
import { atom, diffObjects, diffPatched, type UnitDiff } from "./diff-units.ts";

const macros = readFileSync(new URL("../fixtures/kernel-tables.h", import.meta.url), "utf8");

function diffTables(source: string): Promise<UnitDiff> {
  return diffPatched(`${macros}\n#line 1\n${source}`);
}

const change = "\n#ifdef PATCHED\n x = x * 3 + 1;\n#endif\n";

/** Function names that the first reference of each kept entry leads to. */
function owners(diff: UnitDiff, table: string): string[] {
  return (diff.selection.entries.get(table) ?? []).map(({ place }) => place?.atom.name ?? "nothing");
}

test("entries follow their function, and only those of carried functions are kept", async () => {
  const diff = await diffTables(`
    static int counter;
    static struct static_key key;
    int before(int x) { bug(1); locked_increment(counter); if (static_branch(&key)) take(4); return take(x); }
    int f(int x) { ${change} bug(1); locked_increment(counter); if (static_branch(&key)) take(4); static_call(hook); return take(x); }
    int after(int x) { bug(1); bug(2); locked_increment(counter); static_call(hook); return take(x); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  for (const table of ["__bug_table", ".smp_locks", "__jump_table", ".static_call_sites", "__mcount_loc"])
    expect([table, owners(diff, table)]).toEqual([table, ["f"]]);
});

test("a bug entry names its function inside and its file text as a copy", async () => {
  const diff = await diffTables(`
    int f(int x) { ${change} bug(1); return take(x); }
    int g(int x) { bug(1); return take(x); }
  `);
  const [entry] = diff.entryRoutes("__bug_table");
  expect(entry).toHaveLength(2);
  expect(entry?.[0]).toMatch(/^\+0x0 inside f\+\d+$/);
  expect(entry?.[1]).toBe("+0x4 inside .rodata.f.str1.1+0x0+0");
  const text = diff.selection.atoms.find(({ kind }) => kind === "string");
  expect(Buffer.from(text?.bytes ?? []).toString()).toBe("<stdin>\0");
});

test("a bug entry that alone changes makes its function changed", async () => {
  const diff = await diffTables(`
    #ifdef PATCHED
    #define FLAG 2305
    #else
    #define FLAG 2313
    #endif
    #define expanded(flag) bug(flag)
    int f(int x) { expanded(FLAG); return take(x); }
    int g(int x) { expanded(7); return take(x); }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.reason("f")).toBe("has another entry in __bug_table");
  expect(diff.selection.entries.get("__bug_table")?.map(({ bytes }) => Buffer.from(bytes).readUInt16LE(10))).toEqual([
    2305,
  ]);
});

test("a jump label keeps its code, its target and its key", async () => {
  const diff = await diffTables(`
    static struct static_key key;
    int f(int x) { ${change} if (static_branch(&key)) return take(4); return take(x); }
    int g(int x) { if (static_branch(&key)) return take(5); return take(x); }
  `);
  const [entry, ...more] = diff.entryRoutes("__jump_table");
  expect(more).toEqual([]);
  expect(entry).toHaveLength(3);
  expect(entry?.[0]).toMatch(/^\+0x0 inside f\+\d+$/);
  expect(entry?.[1]).toMatch(/^\+0x4 inside f\+\d+$/);
  expect(entry?.[2]).toBe("+0x8 original key+0");
});

test("a jump label that gets another key is a change of its function", async () => {
  const diff = await diffTables(`
    static struct static_key one, two;
    #ifdef PATCHED
    #define key two
    #else
    #define key one
    #endif
    int f(int x) { outside(&one); outside(&two); if (static_branch(&key)) return take(4); return take(x); }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.reason("f")).toBe("has another entry in __jump_table");
});

test("an alternative brings its replacement, and what that calls", async () => {
  const diff = await diffTables(`
    static noinline __used int fast(int x) { return take(x) + 1; }
    int f(int x) { ${change} alternative("call slow", "call fast", 100); return take(x); }
    int g(int x) { alternative("nop", "lfence", 7); return take(x); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(owners(diff, ".altinstructions")).toEqual(["f"]);
  const [entry] = diff.entryRoutes(".altinstructions");
  expect(entry?.[1]).toMatch(/inside \.altinstr_replacement/);
  const replacement = diff.selection.atoms.filter(({ section }) => section.name === ".altinstr_replacement");
  expect(replacement.map(({ bytes }) => bytes[0])).toEqual([0xe8]);
  const routes = replacement[0]?.references.map((reference) =>
    diff.selection.route(replacement[0] as never, reference),
  );
  expect(routes).toMatchObject([{ to: "original", atom: { name: "fast" } }]);
});

test("a replacement that changes makes its function changed", async () => {
  const diff = await diffTables(`
    #ifdef PATCHED
    #define NEW "mfence"
    #else
    #define NEW "lfence"
    #endif
    int f(int x) { alternative("nop; nop; nop", NEW, 7); return take(x); }
    int g(int x) { alternative("nop; nop; nop", "sfence", 7); return take(x); }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.reason("f")).toBe("has another entry in .altinstructions");
  const replacement = diff.selection.atoms.filter(({ section }) => section.name === ".altinstr_replacement");
  expect(replacement.map(({ bytes }) => Buffer.from(bytes).toString("hex"))).toEqual(["0faef0"]);
});

test("an exception entry and its handler stay with their function", async () => {
  const diff = await diffTables(`
    int f(int *p, int x) { int value; ${change} load_or(value, p, 14); return take(value + x); }
    int g(int *p, int x) { int value; load_or(value, p, 15); return take(value - x); }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(owners(diff, "__ex_table")).toEqual(["f"]);
  const [entry] = diff.entryRoutes("__ex_table");
  expect(entry?.[0]).toMatch(/^\+0x0 inside f\+\d+$/);
  expect(entry?.[1]).toMatch(/^\+0x4 inside f\+\d+$/);
});

test("the handler of a place in the cold part leads into the new code", async () => {
  const source = (value: number): string => `
    .section .text.f,"ax",@progbits
    .globl f
    .type f, @function
    f: call __fentry__
    test %edi, %edi
    jne f.cold
    movl $${value}, %eax
    back: ret
    .size f, .-f
    .section .text.unlikely.f,"ax",@progbits
    .type f.cold, @function
    f.cold:
    1: movl (%rdi), %eax
    jmp back
    .size f.cold, .-f.cold
    .section __ex_table,"a"
    .long 1b - ., back - ., 0
  `;
  const diff = await diffObjects(assemble(source(1)), assemble(source(2)));
  expect(diff.carried).toEqual(["f", "f.cold"]);
  expect(diff.entryRoutes("__ex_table")).toEqual([
    ["+0x0 inside f.cold+0", expect.stringMatching(/^\+0x4 inside f\+\d+$/)],
  ]);
});

test("the sizes of entries are found from the distance of their relocations", async () => {
  const unit = await readUnitObject(
    compileC(`${macros}
      static struct static_key key; static int counter;
      int f(int x) { bug(1); bug(2); bug(3); if (static_branch(&key)) take(1); if (static_branch(&key)) take(2); locked_increment(counter); locked_increment(counter); return x; }
      int g(int *p) { int v; load_or(v, p, 1); load_or(v, p, 2); load_or(v, p, 3); alternative("nop", "nop", 1); alternative("nop", "nop", 1); static_call(a); static_call(b); static_call(a); return v; }
    `),
  );
  const sizes = [...unit.tables].map(([name, { entrySize, entries }]) => [name, entrySize, entries.length]);
  expect(Object.fromEntries(sizes.map(([name, size, count]) => [name, [size, count]]))).toEqual({
    __bug_table: [12, 3],
    __jump_table: [16, 2],
    ".smp_locks": [4, 2],
    __ex_table: [12, 3],
    ".altinstructions": [12, 2],
    ".static_call_sites": [8, 3],
    __mcount_loc: [8, 2],
  });
});

test("sizes that the kernel's types tell come first, and wrong ones are named", async () => {
  const object = compileC(`${macros} int f(int x) { bug(1); return x; }`);
  expect((await readUnitObject(object, { __bug_table: 12 })).tables.get("__bug_table")?.entries).toHaveLength(1);
  await expect(readUnitObject(object, { __bug_table: 16 })).rejects.toMatchObject({
    code: "TABLE_SIZE",
    message: "__bug_table has 12 bytes, which is not a multiple of its 16-byte entries",
  });
});

test("unwind entries keep their two halves together", async () => {
  const unwind = (value: number): string => `
    .section .text.f,"ax",@progbits
    .globl f
    .type f, @function
    f: call __fentry__
    movl $${value}, %eax
    ret
    .size f, .-f
    .section .text.g,"ax",@progbits
    .globl g
    .type g, @function
    g: call __fentry__
    ret
    .size g, .-g
    .section .orc_unwind_ip,"a"
    .long g - ., f - ., f + 5 - .
    .section .orc_unwind,"a"
    .byte 1,1,1,1,1,1, 2,2,2,2,2,2, 3,3,3,3,3,3
  `;
  const diff = await diffObjects(assemble(unwind(1)), assemble(unwind(2)));
  const kept = diff.selection.entries.get(".orc_unwind_ip") ?? [];
  expect(kept.map(({ partner }) => Buffer.from(partner ?? []).toString("hex"))).toEqual([
    "020202020202",
    "030303030303",
  ]);
});

test("a warning that passes its own entry is compared and carried with it", async () => {
  const diff = await diffPatched(
    `${macros}\n#line 1\n
    #ifdef PATCHED
    int earlier(int x) { warning("new", 1); return take(x); }
    #endif
    int same(int x) { if (x) warning("one", 1); warning("two", 3); return take(x); }
    int f(int x) { warning("three", 1); ${change} warning("four", 5); return take(x); }
  `,
  );
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(owners(diff, "__bug_table")).toEqual(["earlier", "f", "f"]);
  const [, first, second] = diff.selection.entries.get("__bug_table") ?? [];
  const routes = atom(diff.patched, "f").references.flatMap((reference) => {
    const route = diff.selection.route(atom(diff.patched, "f"), reference);
    return route.to === "entry" ? [route.entry] : [];
  });
  expect(routes).toEqual([first, second]);
});

test("a warning that passes another entry, or whose text changes, is changed", async () => {
  const diff = await diffPatched(
    `${macros}\n#line 1\n
    #ifdef PATCHED
    #define TEXT "new"
    #define FLAGS 3
    #else
    #define TEXT "old"
    #define FLAGS 1
    #endif
    #define expanded(text, flags) warning(text, flags)
    int text(int x) { expanded(TEXT, 1); return take(x); }
    int flags(int x) { expanded("same", FLAGS); return take(x); }
    int same(int x) { expanded("same", 1); return take(x); }
  `,
  );
  expect(diff.redirected).toEqual(["flags", "text"]);
});

test("a key in a function that only an entry names is that of the function, whatever changes elsewhere", async () => {
  const diff = await diffTables(`
    int f(int x) { static struct static_key key; if (static_branch(&key)) take(4); return take(x); }
    int g(int x) { ${change} return take(x); }
    int h(int x) { static struct static_key own; ${change} if (static_branch(&own)) take(5); return take(x); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["g", "h"]);
  expect(diff.entryRoutes("__jump_table").map((routes) => routes.at(-1))).toEqual([
    expect.stringMatching(/original own\.\d+/),
  ]);
});

test("two such keys of one name stay those of their functions when the compiler numbers them anew", async () => {
  const diff = await diffTables(`
    int f(int x) { static struct static_key key; if (static_branch(&key)) take(4); return take(x); }
    int g(int x) { static struct static_key key; ${change} if (static_branch(&key)) take(5); return take(x); }
    #ifdef PATCHED
    int last(int x) { static struct static_key key; if (static_branch(&key)) take(6); return take(x); }
    #endif
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["g"]);
  const keyOf = (unit: "original" | "patched", name: string): string => {
    const entries = diff[unit].tables.get("__jump_table")?.entries ?? [];
    const target = entries.find(({ place }) => place?.atom.name === name)?.references.at(-1)?.target;
    return target?.kind === "atom" ? target.atom.name : "none";
  };
  expect(keyOf("original", "g")).not.toBe(keyOf("patched", "g"));
  const routes = diff.entryRoutes("__jump_table").map((each) => each.at(-1));
  expect(routes.some((route) => route?.includes(`original ${keyOf("original", "g")}`))).toBe(true);
});
