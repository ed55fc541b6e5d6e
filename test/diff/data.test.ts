import { expect, test } from "vitest";
import { diffC, diffPatched } from "./diff-units.ts";

test("a changed table that only changed functions read goes with them, and a note tells of stored pointers", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define LAST 16
    #else
    #define LAST 9
    #endif
    static const int squares[] = { 0, 1, 4, LAST };
    int f(int x) { return squares[x] + take(x); }
    int g(int x) { return take(x); }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "squares"]);
  expect(diff.refusals).toEqual([]);
  expect(diff.changes.notes).toEqual([expect.stringContaining("the constant squares changed")]);
  expect(diff.routes("f").join()).toContain("inside squares");
});

test("every reader of a changed table is a changed function, so that none keeps the old one", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define LAST 16
    #else
    #define LAST 9
    #endif
    static const int squares[] = { 0, 1, 4, LAST };
    int f(int x) {
    #ifdef PATCHED
      x++;
    #endif
      return squares[x] + take(x);
    }
    int unchanged(int x) { return take(squares[x]); }
  `);
  expect(diff.redirected).toEqual(["f", "unchanged"]);
  expect(diff.carried).toEqual(["f", "squares", "unchanged"]);
  expect(diff.refusals).toEqual([]);
});

test("a changed table that live data points at is refused", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define LAST 16
    #else
    #define LAST 9
    #endif
    static const int squares[] = { 0, 1, 4, LAST };
    const int *current = squares;
    int f(int x) { return squares[x] + take(x); }
  `);
  expect(diff.refusals).toContain("RODATA_SHARED squares");
});

test("a changed table that a function stores somewhere is refused", async () => {
  const diff = await diffPatched(`
    struct device { const int *numbers; };
    #ifdef PATCHED
    #define LAST 16
    #else
    #define LAST 9
    #endif
    static const int squares[] = { 0, 1, 4, LAST };
    void f(struct device *d) { d->numbers = squares; take(1); }
  `);
  expect(diff.refusals).toEqual(["DATA_CHANGED squares"]);
});

test("a changed table inside another one that only the same function reads is carried with it", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define LAST 16
    #else
    #define LAST 9
    #endif
    static const int squares[] = { 0, 1, 4, LAST };
    static const int cubes[] = { 0, 1, 8, 27 };
    static const int *const powers[] = { squares, cubes };
    int f(int x, int y) { return take(powers[x][y]); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f", "powers", "squares"]);
  expect(diff.routes("powers")).toEqual(["+0x0 inside squares+0", "+0x8 original cubes+0"]);
});

test("tables that point at each other change together", async () => {
  const diff = await diffPatched(`
    struct node { const struct node *next; int value; };
    #ifdef PATCHED
    #define VALUE 3
    #else
    #define VALUE 2
    #endif
    static const struct node second;
    static const struct node first = { &second, VALUE };
    static const struct node second = { &first, 7 };
    int f(const struct node *n, int x) { if (n == &first) return take(1); while (x--) n = n->next; return n->value; }
    int g(int x) { return take(f(&second, x)); }
    int h(int x) { return take(f(&first, x) + 1); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried.filter((name) => /first|second/.test(name))).toEqual(["first", "second"]);
  expect(diff.routes("first")).toEqual(["+0x0 inside second+0"]);
  expect(diff.routes("second")).toEqual(["+0x0 inside first+0"]);
});

test("a changed global constant is refused, since other units may read it", async () => {
  const diff = await diffC("const int limit = 5;", "const int limit = 6;");
  expect(diff.refusals).toEqual(["DATA_CHANGED limit"]);
});

test.each([
  ["another initial value", "int state = 5;", "int state = 6;", "DATA_CHANGED state"],
  ["another initial pointer", "extern int a, b; int *p = &a;", "extern int a, b; int *p = &b;", "DATA_CHANGED p"],
  ["an initial value instead of none", "int state;", "int state = 6;", "DATA_CHANGED state"],
  ["no initial value any more", "int state = 6;", "int state;", "DATA_CHANGED state"],
  ["a larger array", "int state[4];", "int state[5];", "DATA_SIZE_CHANGED state"],
  ["a larger initialised array", "int state[4] = {1};", "int state[5] = {1};", "DATA_SIZE_CHANGED state"],
  ["a changed text", 'char text[8] = "abc";', 'char text[8] = "abd";', "DATA_CHANGED text"],
])("%s for live data is refused", async (_, before, after, refusal) => {
  const diff = await diffC(before, after);
  expect(diff.refusals).toEqual([refusal]);
  expect(diff.carried).toEqual([]);
});

test("the size refusal tells both sizes", async () => {
  const diff = await diffC("int state[4];", "int state[5];");
  expect(diff.changes.refusals[0]?.why).toContain("16 bytes and the patched one 20");
});

test("a constant that becomes a variable is refused: the running kernel's copy cannot be written", async () => {
  const diff = await diffPatched(`
    #ifndef PATCHED
    const
    #endif
    int table[4] = { 1, 2, 3, 4 };
    int f(int x) {
    #ifdef PATCHED
      table[x] = 5;
    #endif
      return take(table[x & 1]);
    }
  `);
  expect(diff.refusals).toEqual(["DATA_MOVED table"]);
});

test("data that was only written while booting cannot become writable", async () => {
  const diff = await diffPatched(`
    #ifndef PATCHED
    __attribute__((section(".data..ro_after_init")))
    #endif
    int setting = 4;
    int f(int x) {
    #ifdef PATCHED
      setting = x;
    #endif
      return take(setting);
    }
  `);
  expect(diff.refusals).toEqual(["DATA_MOVED setting"]);
});

test("a function that is no longer thrown away after boot is carried: the running kernel has no copy left", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define freed
    #else
    #define freed __init
    #endif
    noinline freed int probe(int x) { return take(x) + 4; }
    __init int setup(int x) { return probe(x) + probe(x + 1); }
    int f(int x) {
    #ifdef PATCHED
      return probe(x) * 2;
    #else
      return take(x);
    #endif
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "probe"]);
  expect(diff.routes("f").join()).toContain("inside probe-4");
});

test("a variable that is no longer thrown away after boot is refused when new code uses it", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define freed
    #else
    #define freed __initdata
    #endif
    static freed int wanted = 4;
    __init int setup(int x) { return wanted += x; }
    int f(int x) {
    #ifdef PATCHED
      x += wanted;
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual(["SPECIAL_SECTION wanted"]);
});

test("a table that is no longer thrown away after boot is carried", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define freed
    #else
    #define freed __attribute__((section(".init.rodata")))
    #endif
    static const freed int wanted[] = { 4, 5, 6, 7 };
    __init int setup(int x) { return wanted[x]; }
    int f(int x) {
    #ifdef PATCHED
      x += wanted[x & 3];
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f", "wanted"]);
});

test.each([
  [
    "a changed function",
    "__init int setup(int x) { return take(x); }",
    "__init int setup(int x) { return take(x + 1); }",
    "INIT_CODE setup",
  ],
  ["a new function", "", "__init int setup(int x) { return take(x); }", "INIT_CODE setup"],
  ["changed data", "__initdata int early = 4; ", "__initdata int early = 5;", "INIT_CODE early"],
])("%s of boot time is refused", async (_, before, after, refusal) => {
  expect((await diffC(before, after)).refusals).toEqual([refusal]);
});

test("new code may not use what boot time has thrown away", async () => {
  const diff = await diffPatched(`
    __init noinline int setup(int x) { return take(x); }
    int f(int x) {
    #ifdef PATCHED
      return setup(x);
    #endif
      return take(x + 1);
    }
  `);
  expect(diff.refusals).toEqual(["SPECIAL_SECTION setup"]);
});

const percpu = '__attribute__((section(".data..percpu")))';

test.each([
  ["a new static per-CPU variable", "static"],
  ["a new global per-CPU variable", ""],
])("%s is refused", async (_, storage) => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    ${percpu} ${storage} int hits;
    #endif
    int f(int x) {
    #ifdef PATCHED
      asm volatile("incl %%gs:%0" : "+m"(hits));
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual(["PERCPU_DATA hits"]);
});

test("an existing per-CPU variable is reached where it is", async () => {
  const diff = await diffPatched(`
    ${percpu} static int hits;
    int f(int x) {
      asm volatile("incl %%gs:%0" : "+m"(hits));
    #ifdef PATCHED
      asm volatile("incl %%gs:%0" : "+m"(hits));
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f"]);
  expect(diff.routes("f").filter((route) => route.includes("original hits"))).toHaveLength(2);
});

test("a pointer to the end of an array belongs to the array", async () => {
  const diff = await diffPatched(`
    static int numbers[8];
    void f(void) {
      for (int *p = numbers; p < numbers + 8; p++) outside(p);
    #ifdef PATCHED
      take(7);
    #endif
    }
  `);
  expect(diff.carried).toEqual(["f"]);
  const targets = diff.routes("f").filter((route) => route.includes("numbers"));
  expect(targets.map((route) => route.replace(/^\S+ /, "")).sort()).toEqual([
    "original numbers+0",
    "original numbers+32",
  ]);
});

test("texts shared by several functions come along with the changed one only once", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifdef PATCHED
      printk("shared");
    #endif
      printk("shared"); return take(x);
    }
    int g(int x) { printk("shared"); printk("of g"); return take(x); }
  `);
  const texts = diff.selection.atoms.filter(({ kind }) => kind === "string");
  expect(texts.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["shared\0"]);
  expect(diff.redirected).toEqual(["f"]);
});

/** As BTF_ID_LIST() and BTF_ID() of linux/btf_ids.h write it; `number` is a counter and a line, which a patch may move. */
function typeNumber(list: string, number: number): string {
  return `
    asm(".pushsection .BTF_ids,\\"a\\"; .local ${list}; ${list}:"
        ".local __BTF_ID__struct__${list}__${number}; .type __BTF_ID__struct__${list}__${number}, STT_OBJECT;"
        ".size __BTF_ID__struct__${list}__${number}, 4; __BTF_ID__struct__${list}__${number}: .zero 4; .popsection");
    extern unsigned int ${list}[];
  `;
}

test("numbers of types stay those of the running kernel; new ones, which nobody would fill in, are refused", async () => {
  const moved = await diffC(
    `${typeNumber("known", 17)} int f(int x) { return take(x) + known[0]; }`,
    `${typeNumber("known", 29)} int f(int x) { return take(x + 1) + known[0]; }`,
  );
  expect(moved.refusals).toEqual([]);
  expect(moved.carried).toEqual(["f"]);
  expect(moved.routes("f").join()).toContain("original __BTF_ID__struct__known__17");
  const fresh = await diffC(
    "int f(int x) { return take(x); }",
    `${typeNumber("fresh", 29)} int f(int x) { return take(x) + fresh[0]; }`,
  );
  expect(fresh.refusals.join()).toContain("SECTION_CHANGED");
});

test("a device table is refused under the name that it has in the source", async () => {
  const diff = await diffPatched(`
    struct id { int vendor, data; };
    #ifdef PATCHED
    static const struct id my_ids[] = { { 1, 2 }, { 3, 5 }, { 0 } };
    #else
    static const struct id my_ids[] = { { 1, 2 }, { 3, 4 }, { 0 } };
    #endif
    extern typeof(my_ids) __mod_usb__my_ids_device_table __attribute__((unused, alias("my_ids")));
    const struct id *first(int x) { return x ? my_ids : 0; }
  `);
  expect(diff.refusals).toEqual(["DATA_CHANGED my_ids"]);
});
