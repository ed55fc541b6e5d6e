import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { functionsInForce, type PatchInForce, StackedObject, stackLimit } from "../../src/match/stacked-object.ts";
import { atom } from "../diff/diff-units.ts";
import { compileC, link } from "../fixtures/compile.ts";
import { type LinkedKernel, linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

/** A unit with a function that updates change. */
function unit(helper: string): string {
  return `
    static int counter;
    static const int squares[] = { 0, 1, 4, 9 };
    noinline int helper(int x) { ${helper} }
    int visible(int x) { printk("number %d\\n", x); return helper(x) + take(x); }
  `;
}
const first = "counter += x; return squares[x & 3];";
const second = "counter -= x; outside(&counter); return squares[x & 1];";
const third = "outside(&counter); return squares[x & 2] + 5;";

/** What kmend's glue tells the livepatch core: rows of object, name, code and position. */
const rows = `
  struct row { const char *object, *name; void *code; unsigned int position; };
`;

/** A reference to a symbol of the kernel, as a livepatch relocation names it. */
function reached(name: string): string {
  return `extern int ${name} asm("\\".klp.sym.vmlinux.${name},0\\"");`;
}

/** A patch module with a new version of helper(), and a function of its own. */
function patchModule(body: string, object = "0", name = "helper", position = 0): PatchInForce {
  const source = `
    ${rows}
    ${reached("counter")}
    extern const int squares[] asm("\\".klp.sym.vmlinux.squares,0\\"");
    noinline int helper2(int x) { outside(&x); return x * 3; }
    static noinline int helper(int x) { ${body} }
    struct row kmend_funcs_0[] = { { ${object}, "${name}", helper, ${position} } };
  `;
  const file = link([compileC(source)], ["-r"]);
  const elf = new ElfReader(Uint8Array.from(file));
  return { name: "ksplice-x", elf, file, functions: functionsInForce(elf) };
}

function kernel(): LinkedKernel {
  return linkKernel([compileC(unit(first), shipped)]);
}

async function mismatches(target: StackedObject, helper: string): Promise<string[]> {
  const object = await readUnitObject(compileC(unit(helper)));
  const proof = await matchUnit(object, target);
  return ["helper", "visible"].filter((name) => !proof.isMatched(atom(object, name)));
}

describe("the functions that a patch module puts in force", () => {
  test("are read from the table of its glue", () => {
    const { functions, elf } = patchModule(second, '"fuse"', "helper", 2);
    const code = elf.symbols.find(({ name }) => name === "helper");
    expect(functions).toEqual([
      { object: "fuse", name: "helper", sympos: 2, section: code?.section, offset: code?.value },
    ]);
    expect(patchModule(second).functions[0]).toMatchObject({ object: "vmlinux", name: "helper", sympos: 0 });
  });

  test("a table with a row that names no function is an error, and other symbols are not looked at", () => {
    const broken = compileC(`${rows} struct row kmend_funcs_0[] = { { 0, "helper", 0, 0 } };`);
    expect(() => functionsInForce(new ElfReader(Uint8Array.from(broken)))).toThrow("a row without a function");
    const other = compileC(`${rows} struct row other_funcs_0[] = { { 0, "helper", 0, 0 } };`);
    expect(functionsInForce(new ElfReader(Uint8Array.from(other)))).toEqual([]);
  });
});

describe("an object with patch modules in force", () => {
  test("shows the new code under the kernel's name and position", () => {
    const base = kernel();
    const stacked = new StackedObject(base, [patchModule(second)]);
    const [symbol, ...others] = stacked.symbolsNamed("helper");
    expect(others).toEqual([]);
    expect(symbol).toMatchObject({ name: "helper", sympos: 0 });
    expect(symbol?.from).toBeUndefined();
    const running = symbol?.address as number;
    const original = base.addressOf("helper");
    expect(running).not.toBe(original);
    expect(stacked.canonical(original)).toBe(running);
    expect(stacked.canonical(base.addressOf("visible"))).toBe(base.addressOf("visible"));
    expect(stacked.symbolsAt(running)).toEqual([{ name: "helper", sympos: 0, address: running, binding: "global" }]);
    expect(stacked.shippedAt(running)).toEqual({ object: base, address: original });
    expect(stacked.shippedAt(original)).toBeUndefined();
    // The rest is the kernel's own.
    expect(stacked.symbolsNamed("visible")).toEqual(base.symbolsNamed("visible"));
    expect(stacked.bytesAt(base.addressOf("squares"), 4)).toEqual(base.bytesAt(base.addressOf("squares"), 4));
    expect(stacked.roomAt(base.addressOf("visible"))).toBe(base.roomAt(base.addressOf("visible")));
  });

  test("marks what the module added, which no later module can reach", () => {
    const stacked = new StackedObject(kernel(), [patchModule(second)]);
    const [added] = stacked.symbolsNamed("helper2");
    expect(added).toMatchObject({ name: "helper2", from: "ksplice-x" });
    expect(stacked.symbolsAt(added?.address as number)).toEqual([added]);
  });

  test("proves the source that has the earlier change, and nothing else", async () => {
    const stacked = new StackedObject(kernel(), [patchModule(second)]);
    expect(await mismatches(stacked, second)).toEqual([]);
    expect(await mismatches(stacked, first)).toEqual(["helper"]);
    expect(await mismatches(stacked, second.replace("x & 1", "x & 3"))).toEqual(["helper"]);
    expect(await mismatches(stacked, second.replace("&counter", "(void *)squares"))).toEqual(["helper"]);
  });

  test("of several modules the newest counts", async () => {
    const base = kernel();
    const stacked = new StackedObject(base, [patchModule(second), patchModule(third)]);
    expect(await mismatches(stacked, third)).toEqual([]);
    expect(await mismatches(stacked, second)).toEqual(["helper"]);
    const turned = new StackedObject(base, [patchModule(third), patchModule(second)]);
    expect(await mismatches(turned, second)).toEqual([]);
    expect(turned.shippedAt(turned.canonical(base.addressOf("helper")))?.address).toBe(base.addressOf("helper"));
  });

  test("leaves functions of other objects, and of names that it does not have, alone", async () => {
    const base = kernel();
    for (const other of [patchModule(second, '"fuse"'), patchModule(second, "0", "missing")]) {
      const stacked = new StackedObject(base, [other]);
      expect(stacked.canonical(base.addressOf("helper"))).toBe(base.addressOf("helper"));
      expect(await mismatches(stacked, first)).toEqual([]);
    }
  });

  test("cannot have more modules than its addresses can tell apart", () => {
    const one = patchModule(second);
    expect(
      () =>
        new StackedObject(
          kernel(),
          Array.from({ length: stackLimit }, () => one),
        ),
    ).not.toThrow();
    expect(
      () =>
        new StackedObject(
          kernel(),
          Array.from({ length: stackLimit + 1 }, () => one),
        ),
    ).toThrow("lie on each");
  });
});
