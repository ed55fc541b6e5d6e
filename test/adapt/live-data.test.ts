import { describe, expect, test } from "vitest";
import { type JudgedVariable, judgeVariable } from "../../src/adapt/live-data/judge-values.ts";
import { type ChangedVariable, ValueReader } from "../../src/diff/layout/changed-values.ts";
import { atom, diffPatched, type UnitDiff } from "../diff/diff-units.ts";

const flags = ["-g"];

async function changedIn(
  source: string,
  name: string,
): Promise<{ diff: UnitDiff; variable: ChangedVariable | undefined }> {
  const diff = await diffPatched(source, flags);
  const reader = new ValueReader(diff.patched, diff.changes.comparison, diff.correlation);
  return { diff, variable: reader.changed(atom(diff.original, name), atom(diff.patched, name)) };
}

async function judged(source: string, name = "table"): Promise<JudgedVariable> {
  const { variable } = await changedIn(source, name);
  if (variable === undefined) throw new Error(`${name} is not described`);
  return judgeVariable(variable, { file: "unit.c", isReadOnly: true });
}

async function rules(source: string, name = "table"): Promise<string[]> {
  return (await judged(source, name)).obstacles.map(({ rule, values }) => `${rule} ${values.what}`);
}

const kinds = `
  #ifdef PATCHED
  #define V(old, new) new
  #else
  #define V(old, new) old
  #endif
  int first(int x) { return take(x); }
  int second(int x) { return take(x) + 1; }
  struct inner { unsigned char a, b; unsigned short c; union { unsigned int mask; struct { short min, max; }; void *range; }; };
  struct outer { long n; struct { int deep; char flag; } part; struct inner in[2][3]; int (*op)(int); unsigned bit : 3; };
`;

describe("values of a variable that a patch changes", () => {
  test("are told as C writes them, in nested members, unions and arrays of arrays", async () => {
    const { variable } = await changedIn(
      `${kinds}
      struct outer table[2] = { { .n = 1 }, { .n = 2, .part.flag = V(1, 2), .in[1][2] = { .a = 3, .b = V(0, 4), .max = V(0, 1) }, .op = V(first, second) } };`,
      "table",
    );
    expect(variable?.type).toBe("struct outer");
    expect(variable?.isArray).toBe(true);
    expect(variable?.untold).toEqual([]);
    expect(
      variable?.values.map(({ expression, size, holder, isFunction }) => [expression, size, holder, isFunction]),
    ).toEqual([
      ["table[1].part.flag", 1, "struct outer", false],
      ["table[1].in[1][2].b", 1, "struct inner", false],
      ["table[1].in[1][2].max", 2, "struct inner", false],
      ["table[1].op", 8, "struct outer", true],
    ]);
    expect(
      variable?.values.map(({ before, after }) =>
        [before, after].map((v) => (v.kind === "number" ? v.value : "address")),
      ),
    ).toEqual([
      [1n, 2n],
      [0n, 4n],
      [0n, 1n],
      ["address", "address"],
    ]);
  });

  test("an address in a union is the pointer, whatever else is there", async () => {
    const { variable } = await changedIn(
      `${kinds} int there; struct inner table = { .a = 1, .range = V((void *)0, &there) };`,
      "table",
    );
    expect(variable?.values.map(({ expression, size }) => [expression, size])).toEqual([["table.range", 8]]);
  });

  test("the same value at the same place is none, though its text moved", async () => {
    const { variable } = await changedIn(
      `${kinds} struct t { const char *name; int n; }; struct t table = { V("one" "two", "onetwo"), V(1, 2) };`,
      "table",
    );
    expect(variable?.values.map(({ expression }) => expression)).toEqual(["table.n"]);
  });

  test("bit fields are told as what they are", async () => {
    const { variable } = await changedIn(`${kinds} struct outer table = { .bit = V(1, 2) };`, "table");
    expect(variable?.values).toEqual([]);
    expect(variable?.untold).toEqual([{ expression: "table.bit", problem: "it is a bit field" }]);
  });

  test("a variable of a function, and one of two of a name, have no name to write them by", async () => {
    const source = `${kinds} int f(void) { static int table = V(1, 2); return take(table++); }`;
    const diff = await diffPatched(source, flags);
    const [found] = diff.patched.atoms.filter(({ name }) => name.startsWith("table"));
    const [before] = diff.original.atoms.filter(({ name }) => name.startsWith("table"));
    if (found === undefined || before === undefined) throw new Error("no table");
    expect(
      new ValueReader(diff.patched, diff.changes.comparison, diff.correlation).changed(before, found),
    ).toBeUndefined();
  });

  test("zero that had no content before is a value too", async () => {
    const { variable } = await changedIn(`${kinds} int table = V(0, 5);`, "table");
    expect(variable?.values.map(({ expression, after }) => [expression, after])).toEqual([
      ["table", { kind: "number", value: 5n }],
    ]);
  });
});

describe("values that callbacks may write", () => {
  const policies = `${kinds}
    struct nla_policy { unsigned char type, validation_type; unsigned short len; union { const void *range; struct { short min, max; }; }; };
    struct Qdisc_ops { int (*enqueue)(int); int (*peek)(int); int (*destroy)(int); int (*init)(int); int priv_size; const char *id; };
    struct file_operations { int (*read)(int); int (*mmap)(int); };
    struct private_ops { int (*go)(int); int n; void *data; };
    int there, elsewhere;`;

  test("a number of its own, at once", async () => {
    const { values, obstacles } = await judged(`${kinds} int table = V(1, 2);`);
    expect(obstacles).toEqual([]);
    expect(values).toEqual([
      { expression: "table", size: 4, when: "early", isReadOnly: true, before: "0x1UL", after: "0x2UL" },
    ]);
  });

  test("a policy, with all that belongs to its kind", async () => {
    const found = await judged(
      `${policies} const struct nla_policy table[2] = { [1] = { .type = 3, .validation_type = V(0, 4), .range = V((void *)0, &there) } };`,
    );
    expect(found.obstacles).toEqual([]);
    expect(found.values.map(({ expression, after, when }) => [expression, after, when])).toEqual([
      ["table[1].validation_type", "0x4UL", "early"],
      ["table[1].range", "&there", "early"],
    ]);
  });

  test("a function of a table, late: another one, or where there was none", async () => {
    const found = await judged(`${policies} struct Qdisc_ops table = { .peek = V(first, second), .priv_size = 4 };`);
    expect(found.obstacles).toEqual([]);
    expect(found.values).toEqual([
      { expression: "table.peek", size: 8, when: "late", isReadOnly: true, before: "&first", after: "&second" },
    ]);
    expect(await rules(`${policies} struct Qdisc_ops table = { .peek = V(0, second), .id = "q" };`)).toEqual([]);
  });

  test.each([
    [
      "a type of which copies may be kept",
      "const struct private_ops table = { .go = V(first, second) };",
      "READERS table is struct private_ops",
    ],
    ["a pointer of its own", "void *table = V(&there, &elsewhere);", "READERS table is a pointer or an array"],
    ["an array of numbers", "int table[3] = { 1, V(2, 3) };", "READERS table is a pointer or an array"],
    [
      "a number of a table of functions",
      "struct Qdisc_ops table = { .priv_size = V(4, 8) };",
      "READERS table.priv_size is no function of struct Qdisc_ops",
    ],
    [
      "a function that was not set, where flags tell that",
      "const struct file_operations table = { .read = first, .mmap = V(0, second) };",
      "READERS table.mmap of struct file_operations was not set",
    ],
    [
      "an end without its beginning",
      "struct Qdisc_ops table = { .peek = first, .destroy = V(0, second) };",
      "OLD_OBJECTS table.destroy",
    ],
    [
      "a beginning that older objects lack",
      "struct Qdisc_ops table = { .peek = first, .init = V(0, second) };",
      "OLD_OBJECTS table.init",
    ],
    [
      "a function that goes",
      "struct Qdisc_ops table = { .destroy = second, .peek = V(first, 0) };",
      "POINTER_CLEARED table.peek",
    ],
    [
      "a function that each queue has copied",
      "struct Qdisc_ops table = { .enqueue = V(first, second) };",
      "READERS table.enqueue of struct Qdisc_ops is copied or passed over",
    ],
    [
      "a text that has no name",
      'struct nla_policy table = { .type = 1, .range = V("one", &there) };',
      "VALUE_FORM table.range",
    ],
    ["a bit field", "struct outer table = { .bit = V(1, 2) };", "VALUE_FORM table.bit"],
  ])("not %s", async (_, text, expected) => {
    expect(await rules(`${policies} ${text}`)).toContain(expected);
  });

  test("not a pointer and a number of one object", async () => {
    const found = await rules(
      `${policies} struct genl_ops { int n; const void *p; }; const struct genl_ops table = { V(1, 2), V(&there, &elsewhere) };`,
    );
    expect(found).toEqual(["TORN table.p"]);
  });
});

test("a section that a mark leaves out stays the kernel's, and so do those who read it", async () => {
  const source = `${kinds}
    struct ops { int (*go)(int); };
    static const struct ops table = { V(first, second) };
    const struct ops *shown = &table;
    int reader(void) { return take((long)&table); }
    int changed(void) { return take((long)&table) + V(0, 1); }`;
  const mark = `static const char mark[] __attribute__((used, section(".kmend.ignore.sections"))) = ".rodata.table";`;
  const plain = await diffPatched(source, flags);
  expect(plain.refusals).toEqual(["DATA_CHANGED shown", "RODATA_SHARED table"]);
  const reader = new ValueReader(plain.patched, plain.changes.comparison, plain.correlation);
  const variable = reader.changed(atom(plain.original, "shown"), atom(plain.patched, "shown"));
  expect(variable?.values).toEqual([]);
  expect(variable?.constants.map(({ name }) => name)).toEqual(["table"]);
  const left = await diffPatched(`${source}\n#ifdef PATCHED\n${mark}\n#endif`, flags);
  expect(left.refusals).toEqual([]);
  expect(left.redirected).toEqual(["changed"]);
  expect(left.carried).not.toContain("table");
  expect(left.routes("changed").join()).toContain("original table");
});
