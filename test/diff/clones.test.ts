import { expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { baseName, coldParent, isSpecialStatic } from "../../src/diff/names.ts";
import { assemble } from "../fixtures/compile.ts";
import { atom, diffObjects, diffPatched } from "./diff-units.ts";

test.each([
  ["foo.isra.16", "foo.isra"],
  ["foo.constprop.0.cold", "foo.constprop.cold"],
  ["foo.part.3.constprop.12", "foo.part.constprop"],
  ["foo.llvm.1234567890123", "foo.llvm"],
  ["count.3", "count"],
  ["foo.cold", "foo.cold"],
  ["version2", "version2"],
  ["v1.2beta", "v1.2beta"],
  ["__UNIQUE_ID_ddebug1234.56", "__UNIQUE_ID_ddebug"],
  ["probe.__UNIQUE_ID_ddebug875", "probe.__UNIQUE_ID_ddebug"],
  ["__UNIQUE_ID___addressable_start77", "__UNIQUE_ID___addressable_start"],
  ["__initcall__kmod_meminfo__312_162_proc_meminfo_init5", "__initcall__kmod_meminfo_proc_meminfo_init5"],
])("%s and its renumbered versions share %s", (name, base) => {
  expect(baseName(name)).toBe(base);
});

test("the parent of a cold part is named before .cold", () => {
  expect(coldParent("f.cold")).toBe("f");
  expect(coldParent("f.constprop.0.cold")).toBe("f.constprop.0");
  expect(coldParent("f.cold.7")).toBe("f");
  expect(coldParent("f.part.0")).toBeUndefined();
  expect(coldParent(".cold")).toBeUndefined();
});

test("only numbered names are special statics: a variable of that very name is an ordinary one", () => {
  for (const name of [
    "__warned.5",
    "__func__.0",
    "_rs.12",
    "CSWTCH.4",
    "function.__warned",
    "__UNIQUE_ID_ddebug7",
    "f.__UNIQUE_ID_ddebug875",
  ])
    expect([name, isSpecialStatic(name)]).toEqual([name, true]);
  for (const name of ["__warned", "_rs", "descriptor", "count.5", "CSWTCHES.1", "__key2.1"])
    expect([name, isSpecialStatic(name)]).toEqual([name, false]);
});

/** `name` returns `value`; `callers` call the given functions. */
function unit(
  functions: readonly [string, number][],
  callers: Readonly<Record<string, string>>,
  extra = "",
): Uint8Array {
  const define = (name: string, linkage: string, body: string): string => `
    .section .text.${name},"ax",@progbits
    ${linkage} ${name}
    .type ${name}, @function
    ${name}: call __fentry__
    ${body}
    ret
    .size ${name}, .-${name}
  `;
  return assemble(
    [
      ...functions.map(([name, value]) => define(name, ".local", `mov $${value}, %eax`)),
      ...Object.entries(callers).map(([name, callee]) => define(name, ".globl", `call ${callee}`)),
      extra,
    ].join("\n"),
  );
}

test("clones that swap their numbers keep what they mean", async () => {
  const before = unit(
    [
      ["f.constprop.0", 10],
      ["f.constprop.1", 20],
    ],
    { a: "f.constprop.0", b: "f.constprop.1" },
  );
  const after = unit(
    [
      ["f.constprop.0", 20],
      ["f.constprop.1", 10],
    ],
    { a: "f.constprop.1", b: "f.constprop.0" },
  );
  const diff = await diffObjects(before, after);
  expect(diff.originalOf("f.constprop.0")).toBe("f.constprop.1");
  expect(diff.originalOf("f.constprop.1")).toBe("f.constprop.0");
  expect(diff.redirected).toEqual([]);
  expect(diff.carried).toEqual([]);
});

test("a changed clone whose number moved is redirected under the name of the running kernel", async () => {
  const before = unit(
    [
      ["f.constprop.0", 10],
      ["f.constprop.1", 20],
    ],
    { a: "f.constprop.0", b: "f.constprop.1" },
  );
  const after = unit(
    [
      ["f.constprop.0", 20],
      ["f.constprop.1", 11],
    ],
    { a: "f.constprop.1", b: "f.constprop.0" },
  );
  const diff = await diffObjects(before, after);
  expect(diff.redirected).toEqual(["f.constprop.1"]);
  const change = diff.changes.functions.get(atom(diff.patched, "f.constprop.1"));
  expect(change?.original?.name).toBe("f.constprop.0");
});

test("renumbered clones of every kind are the same", async () => {
  const names = ["f.isra", "g.constprop", "h.part"];
  const numbered = (number: number): [string, number][] => names.map((name, at) => [`${name}.${number}`, at]);
  const callers = (number: number): Record<string, string> =>
    Object.fromEntries(names.map((name) => [`of_${name[0]}`, `${name}.${number}`]));
  const diff = await diffObjects(unit(numbered(3), callers(3)), unit(numbered(17), callers(17)));
  expect(diff.originalOf("f.isra.17")).toBe("f.isra.3");
  expect(diff.redirected).toEqual([]);
  expect(diff.carried).toEqual([]);
});

test("a new clone beside an old one is new, and its user is changed", async () => {
  const before = unit([["f.constprop.0", 10]], { a: "f.constprop.0", b: "take" });
  const after = unit(
    [
      ["f.constprop.0", 30],
      ["f.constprop.1", 10],
    ],
    { a: "f.constprop.1", b: "f.constprop.0" },
  );
  const diff = await diffObjects(before, after);
  expect(diff.originalOf("f.constprop.1")).toBe("f.constprop.0");
  expect(diff.redirected).toEqual(["b"]);
  expect(diff.carried).toEqual(["b", "f.constprop.0"]);
  expect(diff.routes("b").join()).toContain("inside f.constprop.0-4");
});

test("a clone that is gone takes its callers into the patch", async () => {
  const before = unit(
    [
      ["f.constprop.0", 10],
      ["f.constprop.1", 20],
    ],
    { a: "f.constprop.0", b: "f.constprop.1" },
  );
  const after = unit([["f.constprop.0", 20]], { a: "take", b: "f.constprop.0" });
  const diff = await diffObjects(before, after);
  expect(diff.originalOf("f.constprop.0")).toBe("f.constprop.1");
  expect(diff.redirected).toEqual(["a"]);
});

const swapped = (first: number, second: number): [string, number][] => [
  ["f.isra.15", first],
  ["f.isra.16", second],
];

test("clones whose only caller changed are told apart by their code", async () => {
  const before = unit(swapped(10, 20), { a: "f.isra.15\n call f.isra.16" });
  const after = unit(swapped(20, 10), { a: "f.isra.16\n nop\n call f.isra.15" });
  const diff = await diffObjects(before, after);
  expect(diff.originalOf("f.isra.15")).toBe("f.isra.16");
  expect(diff.originalOf("f.isra.16")).toBe("f.isra.15");
  expect(diff.carried).toEqual(["a"]);
});

test("clones of equal code are not told apart by it", async () => {
  const before = unit(swapped(10, 10), { a: "f.isra.15\n call f.isra.16" });
  const after = unit(swapped(10, 10), { a: "f.isra.16\n nop\n call f.isra.15" });
  const diff = await diffObjects(before, after);
  expect(diff.originalOf("f.isra.15")).toBeUndefined();
  expect(diff.carried).toEqual(["a", "f.isra.15", "f.isra.16"]);
});

test("the report has the name of the running kernel, for a cold part too", async () => {
  const cold = (name: string, value: number): string => `
    .section .text.unlikely.f,"ax",@progbits
    .type ${name}.cold, @function
    ${name}.cold: mov $${value}, %eax
    ret
    .size ${name}.cold, .-${name}.cold
  `;
  const [before, after] = [
    unit([["f.isra.15", 10]], { a: "f.isra.15" }, cold("f.isra.15", 3)),
    unit([["f.isra.16", 11]], { a: "f.isra.16" }, cold("f.isra.16", 4)),
  ];
  const names = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
  const { result } = await compareObjects(before, after, names);
  expect(result.changedFunctions.map(({ name }) => name)).toEqual(["f.isra.15", "f.isra.15.cold"]);
  expect(result.patched.map(({ name }) => name)).toEqual(["f.isra.15"]);
});

const caller = (body: string): string => `
  .section .text.${body.split(" ")[0]},"ax",@progbits
`;

test("a cold part without a number, added, removed or renumbered, goes with its function", async () => {
  const source = (cold: string, value: number): string => `
    ${caller("f")}
    .globl f
    .type f, @function
    f: call __fentry__
    test %edi, %edi
    jne ${cold}
    ret
    .size f, .-f
    .section .text.unlikely.f,"ax",@progbits
    .type ${cold}, @function
    ${cold}: mov $${value}, %eax
    ret
    .size ${cold}, .-${cold}
  `;
  const renumbered = await diffObjects(assemble(source("f.cold.3", 5)), assemble(source("f.cold.9", 5)));
  expect(renumbered.redirected).toEqual([]);
  const changed = await diffObjects(assemble(source("f.cold.3", 5)), assemble(source("f.cold.9", 6)));
  expect(changed.redirected).toEqual(["f"]);
  expect(changed.carried).toEqual(["f", "f.cold.9"]);
});

test("a cold part that jumps back into its changed function jumps into the new one", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    int f(int x) {
      for (int i = 0; i < x; i++) { if (take(i) == 77) { complain("bad"); x--; } take(i + x); }
    #ifdef PATCHED
      take(1234);
    #endif
      return take(x);
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "f.cold"]);
  expect(diff.routes("f.cold").filter((route) => / f[+-]/.test(route))).toEqual([
    expect.stringMatching(/inside f\+\d/),
  ]);
});
