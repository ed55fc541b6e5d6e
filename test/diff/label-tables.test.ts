import { expect, test } from "vitest";
import { atom, diffPatched } from "./diff-units.ts";

/** An interpreter with computed gotos; `TABLE` declares its table. */
const interpreter = (table: string, more = ""): string => `
  #ifdef PATCHED
  #define STEP 3
  #else
  #define STEP 2
  #endif
  int run(const unsigned char *code, int x) {
    ${table} = { &&add, &&twice, &&end };
    ${more}
    goto *table[*code++];
  add:
    x += STEP; take(x);
    goto *table[*code++];
  twice:
    x *= 2; take(x);
    goto *table[*code++];
  end:
    return x;
  }
`;

test("a constant table of labels is carried with its function, each place in the new code", async () => {
  const diff = await diffPatched(interpreter("static const void *const table[]"));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["run"]);
  // The code differs in one operand: the table itself is equal in both.
  expect(diff.carried.map((name) => name.replace(/\.\d+$/, ""))).toEqual(["run", "table"]);
  const table = diff.carried.find((name) => name.startsWith("table")) ?? "";
  const routes = diff.routes(table);
  expect(routes).toHaveLength(3);
  for (const route of routes) expect(route).toMatch(/ inside run\+/);
  expect(diff.routes("run").filter((route) => route.includes(table)).length).toBeGreaterThan(0);
  for (const route of diff.routes("run").filter((each) => each.includes(table))) expect(route).toContain(" inside ");
});

test("a table of such tables goes with it", async () => {
  const diff = await diffPatched(
    interpreter(
      "static const void *const table[]",
      "static const void *const *const tables[] = { table, table + 1 }; outside((void *)tables[x & 1]);",
    ),
  );
  expect(diff.refusals).toEqual([]);
  expect(diff.carried.map((name) => name.replace(/\.\d+$/, ""))).toEqual(["run", "table", "tables"]);
});

test("a table of labels that may have been written is refused: the kernel's leads into the old code", async () => {
  const diff = await diffPatched(interpreter("static void *table[]", "if (x == 7) table[1] = &&end; outside(table);"));
  expect(diff.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual(["DATA_CHANGED table"]);
});

test("a table of functions is no table of labels", async () => {
  const diff = await diffPatched(`
    static int one(int x) { return take(x) + 1; }
    static int two(int x) {
    #ifdef PATCHED
      x += 5;
    #endif
      return take(x) + 2;
    }
    static int (*const table[])(int) = { one, two };
    int f(int x) { return table[x & 1](x); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["two"]);
});

test("the cold part that only a table reaches is carried with its function", async () => {
  const diff = await diffPatched(`
    extern void complain(const char *) __attribute__((cold));
    #ifdef PATCHED
    #define STEP 3
    #else
    #define STEP 2
    #endif
    int run(const unsigned char *code, int x) {
      static const void *const table[] = { &&add, &&bad };
      goto *table[*code++];
    add:
      x += STEP; take(x);
      goto *table[*code++];
    bad:
      __attribute__((cold));
      complain("bad");
      return x - 77;
    }
  `);
  expect(diff.refusals).toEqual([]);
  const cold = diff.patched.atoms.find(({ name }) => name === "run.cold");
  expect(cold).toBeDefined();
  expect(diff.carried).toContain("run.cold");
  const table = diff.carried.find((name) => name.startsWith("table")) ?? "";
  expect(diff.routes(table).map((route) => route.replace(/\+0x\w+ (.*)\+.*/, "$1"))).toEqual([
    "inside run",
    "inside run.cold",
  ]);
  expect(atom(diff.original, "run.cold").bytes).toEqual(cold?.bytes);
});
