import { expect, test } from "vitest";
import { x86_64 } from "../../src/diff/arch/x86-64.ts";
import { rewritten } from "../../src/diff/rewrites.ts";
import { diffPatched } from "./diff-units.ts";

const macros = `
#define runtime_pointer(variable) ({ \\
  unsigned long value; \\
  asm("movabs %1, %0\\n1:\\n.pushsection runtime_ptr_" #variable ",\\"a\\"\\n.long 1b - 8 - .\\n.popsection" \\
      : "=r"(value) : "i"(0x0123456789abcdef)); \\
  value; })
#define runtime_shift(number, variable) \\
  asm("shrl $12, %k0\\n1:\\n.pushsection runtime_shift_" #variable ",\\"a\\"\\n.long 1b - 1 - .\\n.popsection" : "+r"(number))
#line 1
`;

test("a carried function reads the variable whose value the kernel would write into its code", async () => {
  const diff = await diffPatched(`${macros}
    static unsigned long table;
    void set(unsigned long to) { table = to; }
    unsigned long before(unsigned long x) { return runtime_pointer(outside) + x; }
    unsigned long f(unsigned long x) {
    #ifdef PATCHED
      x *= 3;
    #endif
      return x * runtime_pointer(outside) + runtime_pointer(table);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect([...diff.selection.entries.keys()].filter((name) => name.startsWith("runtime"))).toEqual([]);
  const [atom] = diff.selection.atoms.filter(({ name }) => name === "f");
  const rewrites = diff.selection.rewrites.get(atom as NonNullable<typeof atom>) ?? [];
  const targets = rewrites.map(({ reference: { target } }) => [
    target.kind === "atom" ? target.atom.name : target.kind === "external" ? target.name : "",
    target.addend,
  ]);
  expect(targets.sort()).toEqual([
    ["outside", -4],
    ["table", -4],
  ]);
  expect([...diff.selection.rewrites.keys()].map(({ name }) => name)).toEqual(["f"]);
  const code = Buffer.from(rewritten(atom?.bytes ?? new Uint8Array(0), rewrites));
  expect(code.includes(Buffer.from("efcdab8967452301", "hex"))).toBe(false);
  expect(code.length).toBe(atom?.bytes.length);
  for (const { reference, offset } of rewrites) {
    expect(reference.offset).toBe(offset + 3);
    expect(code.subarray(offset + 7, offset + 10).toString("hex")).toBe("0f1f00");
    expect(diff.selection.route(atom as NonNullable<typeof atom>, reference).to).toMatch(/^(original|external)$/);
  }
});

test("a function with any other runtime constant is refused", async () => {
  const diff = await diffPatched(`${macros}
    unsigned f(unsigned x) {
    #ifdef PATCHED
      x *= 3;
    #endif
      runtime_shift(x, bits);
      return x;
    }
    unsigned g(unsigned x) { runtime_shift(x, bits); return x; }
  `);
  expect(diff.refusals).toEqual(["RUNTIME_CONSTANT f"]);
});

test("a list that nothing is known about, with a place in a carried function, is refused", async () => {
  const diff = await diffPatched(`
    #define listed asm volatile("1: nop\\n.pushsection __places_of_mine,\\"a\\"\\n.long 1b - .\\n.popsection")
    int f(int x) {
    #ifdef PATCHED
      x *= 3;
    #endif
      listed;
      return x + 1;
    }
    int g(int x) { listed; return x; }
  `);
  expect(diff.refusals).toEqual(["UNKNOWN_SECTION f"]);
});

test("a list of functions, which hold for the patched one too, is no obstacle", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifdef PATCHED
      x *= 3;
    #endif
      return x + 1;
    }
    static int (*const listed)(int) __attribute__((used, section("__functions_of_mine"))) = f;
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
});

test.each([
  ["48b8efcdab8967452301", "488b05000000000f1f00"],
  ["49bfefcdab8967452301", "4c8b3d000000000f1f00"],
  ["48bbefcdab8967452301", "488b1d000000000f1f00"],
])("%s becomes %s", (from, to) => {
  const load = x86_64.loadInstead?.(Buffer.from(`90${from}c3`, "hex"), 3);
  expect(load).toMatchObject({ start: 1, offset: 4, width: 4 });
  expect(Buffer.from(load?.bytes ?? []).toString("hex")).toBe(to);
});

test.each(["c7c0efcdab8967452301", "b8efcdab8967", "48b8efcdab89"])("%s is no such load", (code) => {
  expect(x86_64.loadInstead?.(Buffer.from(code, "hex"), 2)).toBeUndefined();
});
