import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { decideModuleKeys, type KeyDecision } from "../../src/build/resolve/late-keys.ts";
import type { Reach } from "../../src/build/resolve/resolve.ts";
import type { Atom } from "../../src/diff/atoms.ts";
import type { Route, Selection } from "../../src/diff/select.ts";
import { diffPatched } from "../diff/diff-units.ts";

const macros = readFileSync(new URL("../fixtures/kernel-tables.h", import.meta.url), "utf8");

/** Decides for a unit of the module `fuse` whose own symbols are reached by livepatch relocations, those of others by the loader. */
async function decide(source: string, object = "fuse"): Promise<KeyDecision & Pick<Selection, "entries">> {
  const diff = await diffPatched(`${macros}\n#line 1\n${source}`, ["-g"]);
  expect(diff.refusals).toEqual([]);
  const reachOf = (route: Route): Reach | undefined => {
    if (route.to === "external") return { by: "loader", name: route.name, owner: undefined, proof: "" };
    if (route.to !== "original") return undefined;
    return { by: "klp", symbol: { object, name: route.atom.name, sympos: 0, offset: 0 }, proof: "" };
  };
  const decision = decideModuleKeys(diff.selection, diff.patched, object, "fs/fuse/dev.c", reachOf);
  return { ...decision, entries: decision.selection.entries };
}

const change = "\n#ifdef PATCHED\n x = x * 3 + 1;\n#endif\n";

test("in the kernel image everything can be carried", async () => {
  const source = `static struct static_key key; int f(int x) { ${change} if (static_branch(&key)) take(4); return take(x); }`;
  const { entries, refusals, notes } = await decide(source, "vmlinux");
  expect(entries.get("__jump_table")).toHaveLength(1);
  expect([refusals, notes]).toEqual([[], []]);
});

/** Unwind data for `f` as objtool writes it: one entry for all of it, with a table entry of its own size. */
const unwind = `
  asm(".pushsection .orc_unwind_ip,\\"a\\"\\n.long f - .\\n.popsection\\n"
      ".pushsection .orc_unwind,\\"a\\"\\n.word 8, 0\\n.byte 0x55, 1\\n.popsection");
`;

/** Bytes of a jump with its displacement as zero. */
const jump = "e900000000";

test("a static branch with a key of the module reads the key in code of its own", async () => {
  const { entries, refusals, selection } = await decide(`
    static struct static_key key;
    int f(int x) { ${change} if (static_branch(&key)) take(4); return take(x); }
    ${unwind}
  `);
  expect(refusals).toEqual([]);
  expect(entries.has("__jump_table")).toBe(false);
  const [f, code] = ["f", "by its key"].map((name) => selection.atoms.find((atom) => atom.name.endsWith(name))) as [
    Atom,
    Atom,
  ];
  const [rewrite] = selection.rewrites.get(f) ?? [];
  expect(Buffer.from(rewrite?.bytes ?? []).toString("hex")).toBe(jump);
  expect(rewrite?.reference).toMatchObject({
    offset: (rewrite?.offset ?? 0) + 1,
    target: { kind: "atom", atom: code, addend: -4 },
  });
  expect(Buffer.from(code.bytes).toString("hex")).toBe(`833d0000000000${"0f8500000000"}${jump}`);
  const targets = code.references.map(({ offset, target }) =>
    target.kind === "atom" ? [offset, target.atom.name, target.addend] : [],
  );
  expect(targets[0]).toEqual([2, "key", -5]);
  expect(targets[1]).toEqual([9, "f", expect.any(Number)]);
  expect(targets[2]).toEqual([14, "f", (rewrite?.offset ?? 0) + 5 - 4]);
  const unwinding = entries.get(".orc_unwind_ip") ?? [];
  expect(unwinding.map(({ place }) => place?.atom.name)).toEqual(["f", code.name]);
  expect(unwinding[1]?.partner).toEqual(unwinding[0]?.partner);
});

test("a static branch that is taken while its key is off goes there when the key reads zero", async () => {
  const { selection, refusals } = await decide(`
    static struct static_key key;
    int f(int x) { ${change} if (static_branch_likely(&key)) take(4); return take(x); }
    ${unwind}
  `);
  expect(refusals).toEqual([]);
  const code = selection.atoms.find(({ name }) => name.endsWith("by its key"));
  expect(Buffer.from(code?.bytes ?? []).toString("hex")).toBe(`833d0000000000${"0f8400000000"}${jump}`);
  expect(code?.references[0]?.target).toMatchObject({ addend: -5 });
});

test.each([
  ["without unwind data for it", "static_branch", ""],
  ["that has two bytes only", "short_static_branch", unwind],
])("a static branch with a key of the module, %s, is refused with key, function and unit", async (_, macro, more) => {
  const { entries, refusals } = await decide(
    `static struct static_key key; int f(int x) { ${change} if (${macro}(&key)) take(4); return take(x); } ${more}`,
  );
  expect(entries.has("__jump_table")).toBe(false);
  expect(refusals).toMatchObject([
    {
      code: "JUMP_LABEL_MODULE_KEY",
      what: "f",
      where: expect.stringMatching(/^fs\/fuse\/dev\.c: f\+0x[0-9a-f]+ \(<stdin>:\d+\)$/),
    },
  ]);
  expect(refusals[0]?.why).toContain("the static key key of a module");
});

test("a static branch with a key of the kernel, or a new one of the patch, is carried", async () => {
  const { entries, refusals } = await decide(`
    extern struct static_key elsewhere;
    int f(int x) {
    #ifdef PATCHED
      static struct static_key fresh; outside(&fresh);
      if (static_branch(&fresh)) take(5);
    #endif
      if (static_branch(&elsewhere)) take(4);
      return take(x);
    }
  `);
  expect(refusals).toEqual([]);
  expect(entries.get("__jump_table")).toHaveLength(2);
});

test("a tracepoint of the module without room for a jump falls silent, which is noted once for each function", async () => {
  const { entries, refusals, notes } = await decide(`
    static struct static_key __tracepoint_fuse_request;
    int f(int x) { ${change} if (static_branch(&__tracepoint_fuse_request)) take(4); if (static_branch(&__tracepoint_fuse_request)) take(5); return take(x); }
  `);
  expect(entries.has("__jump_table")).toBe(false);
  expect(refusals).toEqual([]);
  expect(notes).toEqual(["f: the tracepoint fuse_request of fuse no longer fires in the patched function"]);
});

test("a static call of the module goes through its trampoline without an entry", async () => {
  const { entries, refusals, notes } = await decide(`
    static long __SCK__hook; static noinline void __SCT__hook(void) { take(4); }
    int f(int x) { ${change} static_call(hook); outside(&__SCK__hook); outside(__SCT__hook); return take(x); }
  `);
  expect(entries.has(".static_call_sites")).toBe(false);
  expect([refusals, notes]).toEqual([[], []]);
});

test("an alternative whose replacement calls a function of the module is refused", async () => {
  const { refusals } = await decide(`
    static noinline __attribute__((used)) int fast(int x) { return take(x) + 1; }
    int f(int x) { ${change} alternative("call take", "call fast", 100); return take(x); }
  `);
  expect(refusals).toMatchObject([{ code: "SPECIAL_SECTION", what: "f" }]);
  expect(refusals[0]?.why).toContain("its entry in .altinstructions needs fast of fuse");
});

test("an alternative that stands for a call of a function of the module is refused", async () => {
  const { refusals } = await decide(`
    static noinline __attribute__((used)) int slow(int x) { return take(x) + 1; }
    int f(int x) { ${change} alternative("call slow", "call take", 100); return take(x); }
  `);
  expect(refusals).toMatchObject([{ code: "SPECIAL_SECTION", what: "f" }]);
  expect(refusals[0]?.why).toContain("needs slow of fuse");
});

test("tables that are read later keep all entries", async () => {
  const { entries, refusals } = await decide(`
    static int counter;
    int f(int *p, int x) { int v; ${change} bug(1); load_or(v, p, 1); locked_increment(counter); alternative("nop", "lfence", 7); return take(x + v); }
  `);
  expect(refusals).toEqual([]);
  for (const table of ["__bug_table", "__ex_table", ".smp_locks", ".altinstructions", "__mcount_loc"])
    expect([table, entries.get(table)?.length]).toEqual([table, 1]);
});
