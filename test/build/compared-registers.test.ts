import { describe, expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { kernelPrelude } from "../fixtures/compile.ts";

const table = `
struct file { long pad[4]; const void *ops; };
struct ops { int (*run)(int); int flag; long more[3]; };
static int run(int x) { return take(x); }
#ifdef PATCHED
static const struct ops table = { run, 2 };
#else
static const struct ops table = { run, 1 };
#endif
`;

/** A text that a pointer which never changes stands for. */
const text = (check: string): string => `
struct zone { const char *name; int users; };
void release(const void *);
static const char *standard = "standard";
int setup(struct zone *zone) {
  zone->name = standard;
#ifdef PATCHED
  zone->users = 1;
#endif
  return 0;
}
void end(struct zone *zone) { ${check} }
`;

const compared: Readonly<Record<string, readonly [string, string]>> = {
  "with a member": ["table", `${table} int is(struct file *f) { return f->ops == &table; }`],
  "in a condition": ["table", `${table} int is(const void *ops) { if (ops != &table) return take(1); return 2; }`],
  "behind a call": [
    "table",
    `${table} int is(struct file *f) { int x = take(3); return f->ops == &table ? take(x) : 2; }`,
  ],
  "of two members": [
    "table",
    `${table} int is(struct file *f, struct file *g) { return take(f->ops == &table) + (g->ops == &table); }`,
  ],
  "by its function that takes it back": [
    "table",
    `${table} extern void unregister_table(const struct ops *, int); void end(void) { unregister_table(&table, 1); }`,
  ],
  "as a text": ['"standard"', text("if (zone->name != standard) release(zone->name);")],
  "as a distance": [
    "rows",
    `struct row { long a, b; };
#ifdef PATCHED
#define FLAG 2
#else
#define FLAG 1
#endif
static const struct row rows[4] = { { 1, 2 }, { 3, FLAG }, { 5, 6 }, { 7, 8 } };
extern const struct row *chosen;
void choose(int i) { chosen = &rows[i]; }
long index(void) { return chosen - rows; }`,
  ],
};

const others: Readonly<Record<string, string>> = {
  "a member that is read": `${table} int is(int x) { return table.flag == x; }`,
  "a function that is called": `${table} int is(int x) { return table.run(x); }`,
  "an argument": `${table} extern int use(const void *, long); int is(long x, long y) { return use(&table, x == y); }`,
  "a name that sysfs looks for": `${table} extern void sysfs_remove_group(const struct ops *); void end(void) { sysfs_remove_group(&table); }`,
  "a text that is read": text("if (zone->name) release(standard);"),
};

const far = { ...machines.ppc64leFar, name: "ppc64le with a far TOC" };
const tested: readonly Machine[] = [
  ...[machines.aarch64, machines.ppc64le, far, machines.s390x, machines.loongarch64],
  { ...machines.aarch64be },
  ...["clang-19"].map((compiler) => ({
    ...machines.aarch64,
    ...{ name: `aarch64 ${compiler}`, compiler },
    flags: ["--target=aarch64-linux-gnu", ...machines.aarch64.flags],
  })),
];

describe.each(tested.filter((machine) => toolchain(machine) !== undefined))("$name", (machine) => {
  const refused = async (source: string): Promise<string[]> => {
    const compile = (...flags: string[]): Uint8Array => compileFor(machine, flags, `${kernelPrelude}${source}`);
    const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
    const { result } = await compareObjects(compile(), compile("-DPATCHED"), input);
    return result.refusals.filter(({ code }) => code === "ADDRESS_COMPARED").map(({ what }) => what);
  };
  test.each(Object.entries(compared))(
    "a changed constant whose address is compared %s is refused",
    async (_, [what, source]) => {
      expect(await refused(source)).toEqual([what]);
    },
  );
  test.each(Object.entries(others))("%s is not", async (_, source) => expect(await refused(source)).toEqual([]));
});
