import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import { atom } from "../diff/diff-units.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

const source = `
  static int counter;
  static const int squares[] = { 0, 1, 4, 9 };
  noinline int helper(int x) { counter += x; return squares[x & 3]; }
  int visible(int x) { printk("number %d\\n", x); return helper(x) + take(x); }
  int tail(int x) { return helper(x + 1); }
`;

function moduleOf(...sources: string[]): ModuleObject {
  const objects = sources.map((text) => compileC(text, shipped));
  return new ModuleObject("sample", link(objects, ["-r"]), "sample.ko");
}

test("a unit of a module is proven against the module, calls without relocation included", async () => {
  const target = moduleOf("int first(void) { return take(3); }", source);
  const unit = await readUnitObject(compileC(source));
  const proof = await matchUnit(unit, target);
  expect([proof.matchedCount, proof.functionCount]).toEqual([3, 3]);
  for (const name of ["helper", "visible", "tail", "counter", "squares"])
    expect([name, proof.addressOf(atom(unit, name))]).toEqual([name, target.symbolsNamed(name)[0]?.address]);
  expect(proof.valueOf("take")).toMatchObject({ kind: "external", name: "take" });
});

test("a call of another outside function is found", async () => {
  const target = moduleOf(
    source.replace("take(x)", "other_take(x)").replace("int visible", "extern int other_take(int); int visible"),
  );
  const unit = await readUnitObject(compileC(source));
  const proof = await matchUnit(unit, target);
  expect(proof.isMatched(atom(unit, "visible"))).toBe(false);
  expect(proof.mismatchOf(atom(unit, "visible"))?.text).toBe("refers to other_take in the target and to take here");
  expect(proof.isMatched(atom(unit, "helper"))).toBe(true);
});

test("a text of other content and other code are found", async () => {
  const unit = await readUnitObject(compileC(source));
  const text = await matchUnit(unit, moduleOf(source.replace("number %d", "Number %d")));
  expect(text.mismatchOf(atom(unit, "visible"))?.text).toBe('the text "number %d\\n" is "Number %d\\n" in the target');
  const code = await matchUnit(unit, moduleOf(source.replace("x & 3", "x & 1")));
  expect(code.isMatched(atom(unit, "helper"))).toBe(false);
  expect(code.isMatched(atom(unit, "visible"))).toBe(true);
});

test("equally named functions are told apart and counted in the order of the symbol table", async () => {
  const other = "static noinline int show(int x) { return take(x) * 9; } int second(int x) { return show(x) - 1; }";
  const one = "static noinline int show(int x) { return take(x) + 3; } int first(int x) { return show(x) + 1; }";
  const unit = await readUnitObject(compileC(one));
  for (const [order, position] of [
    [[one, other], 1],
    [[other, one], 2],
  ] as const) {
    const target = moduleOf(...order);
    const address = (await matchUnit(unit, target)).addressOf(atom(unit, "show")) as number;
    expect(target.symbolsAt(address)).toEqual([{ name: "show", address, sympos: position, binding: "local" }]);
  }
});

test("a global symbol counts along with its local namesakes, by table order and not by address", () => {
  const local = assemble(
    ".text\n nop\n .type twin,@function\n twin: ret\n .size twin, 1\n .globl caller\n caller: call twin\n",
  );
  const global = assemble(".text\n .globl twin\n .type twin,@function\n twin: nop; ret\n .size twin, 2\n");
  // The global one has the lower address; ld writes local symbols first.
  const target = new ModuleObject("sample", link([global, local], ["-r"]), "sample.ko");
  const twins = target.symbolsNamed("twin");
  expect(twins.map(({ sympos }) => sympos)).toEqual([1, 2]);
  expect((twins[0]?.address ?? 0) > (twins[1]?.address ?? 0)).toBe(true);
  expect(target.symbolsNamed("caller")).toMatchObject([{ sympos: 0 }]);
});

test("symbols of init sections do not count, as the kernel forgets them", () => {
  const object = assemble(`
    .section .init.text,"ax",@progbits
    .type twin,@function
    twin: ret
    .text
    .type twin2,@function
    twin2: ret
  `);
  const renamed = link([object], ["-r", "--defsym", "unused=0"]);
  const target = new ModuleObject("sample", renamed, "sample.ko");
  expect(target.symbolsNamed("twin")).toEqual([]);
  expect(target.symbolsNamed("twin2")).toMatchObject([{ sympos: 0 }]);
});

test("what lies outside of the module has no content and no room", () => {
  const target = moduleOf(source);
  expect(target.bytesAt(-1, 4)).toBeUndefined();
  expect(target.bytesAt(2 ** 36 * 1000, 1)).toBeUndefined();
  expect(target.roomAt(2 ** 45)).toBeUndefined();
  expect(target.valueAt(2 ** 45, 4, true)).toBeUndefined();
  const helper = target.symbolsNamed("helper")[0]?.address ?? 0;
  expect(target.bytesAt(helper, 1 << 20)).toBeUndefined();
  expect(target.roomAt(helper)).toBeGreaterThan(8);
});

test("a place that holds a plain number is no address before the module is loaded", () => {
  const target = moduleOf(source);
  const squares = target.symbolsNamed("squares")[0]?.address ?? 0;
  expect(target.valueAt(squares + 4, 4, false)).toBeUndefined();
});

test("another element of an outside array is found", async () => {
  const element = (number: number): string =>
    `extern int numbers[]; int f(int x) { return take(numbers[${number}] + x); }`;
  const unit = await readUnitObject(compileC(element(1)));
  const proof = await matchUnit(unit, moduleOf(element(2)));
  expect(proof.isMatched(atom(unit, "f"))).toBe(false);
  expect(proof.mismatchOf(atom(unit, "f"))?.text).toBe("refers to numbers+4 in the target and to numbers here");
  expect((await matchUnit(unit, moduleOf(element(1)))).isMatched(atom(unit, "f"))).toBe(true);
});
