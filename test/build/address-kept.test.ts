import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { keptAddresses } from "../../src/build/warnings/address-kept.ts";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { diffPatched } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";

/** What the kernel's headers would declare. */
const declarations = `
struct work { void *data[3]; void (*func)(struct work *); };
struct operations { int (*open)(void *); int (*close)(void *); };
struct device { const char *name; const struct operations *operations; void (*release)(void *); struct device *next; };
extern void call_rcu(void *, void (*)(void *));
extern void queue_work(struct work *);
extern void register_device(struct device *);
extern void seq_puts(void *, const char *), __seq_puts(void *, const char *);
extern int seq_printf(void *, const char *, ...);
extern void *memcpy(void *, const void *, unsigned long);
extern void *kmemdup(const void *, unsigned long, int);
extern char *strchr(const char *, int);
extern void sort(void *, unsigned long, unsigned long, int (*)(const void *, const void *), void *);
extern void _dev_err(void *, const char *, ...);
extern void mutex_lock(void *);
extern void __mutex_init(void *, const char *, void *);
extern void (*hook)(void *, const char *);
`;

/** Warnings for code that differs with PATCHED, as `function: why` without what all of them say. */
async function kept(source: string, hasLockdep = false, types?: Btf): Promise<string[]> {
  const { patched, changes, selection, refusals } = await diffPatched(`${declarations}${source}`);
  expect(refusals).toEqual([]);
  const plan = { patched, changes, pair: { source: "unit.c", object: "vmlinux" } };
  const warnings = keptAddresses([{ plan, selection }], { hasLockdep, typesOf: () => types });
  for (const { code, unit } of warnings) expect({ code, unit }).toEqual({ code: "ADDRESS_KEPT", unit: "unit.c" });
  return warnings.map(
    ({ function: name, why }) =>
      `${name}: ${why.replace("the address of ", "").replace(", which is in the patch module,", "")}`,
  );
}

/** A function `run` whose patched version has other statements, with what these need before it. */
function run(statements: string, before = ""): string {
  return `#ifdef PATCHED
${before}
#endif
int run(void *p, struct device *device, int i)
{
#ifdef PATCHED
${statements}
#endif
	return take(i);
}`;
}

const callback = "static noinline void late(void *p) { outside(p); }";

test.each<[string, string, string[]]>([
  ["a callback of RCU", run("call_rcu(p, late);", callback), ["run: it passes late() to call_rcu, which may keep it"]],
  ["a function in an object", run("device->release = late;", callback), ["run: it stores late() in memory"]],
  [
    "a work item of the patch's own",
    run(
      "queue_work(&item);",
      "static noinline void work(struct work *w) { outside(w); }\nstatic struct work item = { .func = work };",
    ),
    ["run: it passes item to queue_work, which may keep it"],
  ],
  [
    "a table of operations",
    run(
      "device->operations = &table;",
      "static noinline int opened(void *p) { return take(1); }\nstatic const struct operations table = { .open = opened };",
    ),
    ["run: it stores table in memory"],
  ],
  ["a name in an object", run('device->name = "fixed";'), ['run: it stores the text "fixed" in memory']],
  [
    "an object in a list, its address in a register for a while",
    run(
      "struct device *mine = i ? &one : &two; take(1); mine->next = device->next; device->next = mine;",
      "static struct device one, two;",
    ),
    ["run: it stores one in memory", "run: it stores two in memory"],
  ],
  [
    "a function that is passed on by another one of the unit",
    run("arm(p, late);", `${callback}\nstatic noinline void arm(void *p, void (*f)(void *)) { call_rcu(p, f); }`),
    ["run: it passes late() to call_rcu, which may keep it"],
  ],
  [
    "an object on the stack that is passed on",
    run('struct device d = { .name = "copied" }; register_device(&d);'),
    ['run: it puts the text "copied" into an object on its stack that is used elsewhere'],
  ],
  [
    "a pointer that a table of the patch holds",
    run("device->name = names[i & 3];", 'static const char *const names[] = { "a", "b", "c", "d" };'),
    ['"a"', '"b"', '"c"', '"d"'].map((text) => `run: it stores the text ${text} in memory`),
  ],
  [
    "a copy of a table with pointers in it",
    run(
      "kmemdup(&table, sizeof(table), i);",
      "static noinline int opened(void *p) { return take(1); }\nstatic const struct operations table = { .open = opened };",
    ),
    ["run: it stores opened() in memory"],
  ],
  [
    "an object that is filled and returned",
    run("p = memset(mine, i, i); hook = p;", "static char mine[64]; extern void *memset(void *, int, unsigned long);"),
    ["run: it stores mine in memory"],
  ],
  [
    "an element that is found",
    run(
      "device->next = bsearch(p, mine, 8, 4, p);",
      "static int mine[8]; extern void *bsearch(const void *, const void *, unsigned long, unsigned long, void *);",
    ),
    ["run: it stores mine in memory"],
  ],
  [
    "where the reading of a number ended",
    run(
      "char *end; i = simple_strtoul(mine, &end, 0); device->name = end;",
      "static char mine[64]; extern unsigned long simple_strtoul(const char *, char **, unsigned int);",
    ),
    ["run: it passes mine to simple_strtoul, which may keep it"],
  ],
  [
    "a call through a pointer",
    run('hook(p, "told");'),
    ['run: it passes the text "told" to a function that it calls through a pointer, which may keep it'],
  ],
])("%s outlives the module", async (_what, source, expected) => {
  expect((await kept(source)).sort()).toEqual([...expected].sort());
});

test("a text that a function returns is its callers'", async () => {
  const source = (text: string): string => `const char *name_of(int i) { return i ? "old" : ${text}; }`;
  const found = await kept(`#ifdef PATCHED\n${source('"new"')}\n#else\n${source('"other"')}\n#endif`);
  expect(found.sort()).toEqual([
    'name_of: it returns the text "new" to its callers',
    'name_of: it returns the text "old" to its callers',
  ]);
});

test.each<[string, string]>([
  [
    "texts that are printed",
    run('printk("%s %d", "x", i); seq_puts(p, "y"); __seq_puts(p, "Y"); seq_printf(p, "%s", "z"); _dev_err(p, "e");'),
  ],
  ["a place in a text that is printed", run('seq_puts(p, strchr("abc", i));')],
  [
    "a text that a new function returns to the code that prints it",
    run("seq_puts(p, name(i));", 'static noinline const char *name(int i) { return i ? "a" : "b"; }'),
  ],
  ["a table that is read", run("i = numbers[i & 3];", "static const int numbers[] = { 3, 1, 4, 1 };")],
  [
    "texts of a table that are printed",
    run("seq_puts(p, names[i & 3]);", 'static const char *const names[] = { "a", "b", "c", "d" };'),
  ],
  [
    "a comparison while it sorts",
    run("sort(p, 1, 2, order, 0);", "static noinline int order(const void *a, const void *b) { return take(1); }"),
  ],
  ["a new function that is called", run("late(p);", callback)],
  ["a variable that is counted", run("count += i;", "static int count;")],
  ["a lock that is taken", run("mutex_lock(&lock);", "static long lock[4];")],
  [
    "bytes that are copied",
    run('memcpy(p, table, 300); printk("copied");', "static const char table[300] = { 1, 2, 3 };"),
  ],
  ["name and class of a lock without lockdep", run('static long key; __mutex_init(p, "lock", &key);')],
])("%s end with the function", async (_what, source) => {
  expect(await kept(source)).toEqual([]);
});

test("lockdep keeps name and class of a lock", async () => {
  expect(await kept(run('static long key; __mutex_init(p, "lock", &key);'), true)).toEqual([
    'run: it passes the text "lock" to __mutex_init, which may keep it',
    expect.stringMatching(/^run: it passes key(\.\d+)? to __mutex_init, which may keep it$/),
  ]);
});

test("a redirected function that takes its own address means the kernel's", async () => {
  const source = 'void again(void *p) {\n#ifdef PATCHED\n\tprintk("again");\n#endif\n\tcall_rcu(p, again);\n}';
  expect(await kept(source)).toEqual([]);
  const diff = await diffPatched(`${declarations}${source}`);
  expect(diff.routes("again").filter((route) => route.includes(" again"))).toEqual([
    expect.stringContaining("original again"),
  ]);
});

test("arguments that stand at other positions in other versions are told by the names that the kernel has for them", async () => {
  const older = "void *__blk_mq_alloc_disk(void *set, void *queuedata, void *lkclass)";
  const newer = "void *__blk_mq_alloc_disk(void *set, void *lim, void *queuedata, void *lkclass)";
  const folder = mkdtempSync(join(tmpdir(), "kmend-kept-"));
  const use = (declared: string, call: string): string => run(call, `extern ${declared}; static long mine;`);
  const typesOf = async (declared: string): Promise<Btf> => {
    writeFileSync(join(folder, "kernel.o"), compileC(`${declared} { return 0; }`, ["-g"]));
    return new Btf(await encodeUnitTypes(join(folder, "kernel.o"), folder), "vmlinux");
  };
  try {
    const [before, after] = [await typesOf(older), await typesOf(newer)];
    const passed = ["run: it passes mine to __blk_mq_alloc_disk, which may keep it"];
    expect(await kept(use(older, "__blk_mq_alloc_disk(0, &mine, 0);"), false, before)).toEqual(passed);
    expect(await kept(use(older, "__blk_mq_alloc_disk(0, 0, &mine);"), false, before)).toEqual([]);
    expect(await kept(use(newer, "__blk_mq_alloc_disk(0, &mine, 0, 0);"), false, after)).toEqual([]);
    expect(await kept(use(newer, "__blk_mq_alloc_disk(0, 0, &mine, 0);"), false, after)).toEqual(passed);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("what a function that is called back gets may be kept by it, the function itself is not", async () => {
  const declared = "int bus_for_each_dev(void *bus, void *start, void *data, int (*each)(void *, void *))";
  const folder = mkdtempSync(join(tmpdir(), "kmend-kept-"));
  try {
    writeFileSync(join(folder, "kernel.o"), compileC(`${declared} { return 0; }`, ["-g"]));
    const types = new Btf(await encodeUnitTypes(join(folder, "kernel.o"), folder), "vmlinux");
    const before = `extern ${declared}; static long mine; static int each(void *a, void *b) { return take(1); }`;
    expect(await kept(run("bus_for_each_dev(p, 0, &mine, each);", before), false, types)).toEqual([
      "run: it passes mine to bus_for_each_dev, which may keep it",
    ]);
    expect(await kept(run("bus_for_each_dev(p, 0, p, each);", before), false, types)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
