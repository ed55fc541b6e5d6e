import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import type { TargetObject } from "../../src/match/target-object.ts";
import { sizeProblem } from "../../src/match/variable-size.ts";
import { atom } from "../diff/diff-units.ts";
import { compileC, link } from "../fixtures/compile.ts";
import { linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];
const source = `
  static long before = 1; int table[17] = { 1 }; char flag = 1; static long after = 2;
  char room[25]; char behind;
  int user(int x) { return table[x] + flag + before++ + after++ + room[x] + behind++; }
`;

describe("in a linked image", () => {
  const target = linkKernel([compileC(source, shipped)]);
  const problem = (name: string, size: number, mayBeLonger = false): string | undefined =>
    sizeProblem(size, target.addressOf(name), target, mayBeLonger);

  test.each([
    ["table", 68],
    ["before", 8],
    ["room", 25],
  ])("%s may have its %i bytes, and no more", (name, size) => {
    expect(problem(name, size)).toBeUndefined();
    expect(problem(name, size + 8)).toContain(`it has ${size + 8} bytes here, and vmlinux has room for`);
  });

  test("less than what padding explains is found, unless the declaration leaves the length open", () => {
    expect(problem("table", 36)).toContain("which is more than padding");
    expect(problem("room", 9)).toContain("which is more than padding");
    expect(problem("room", 9, true)).toBeUndefined();
    expect(problem("flag", 1)).toBeUndefined();
    expect(problem("flag", 0)).toBeUndefined();
  });

  test("a variable that matched code refers to is another one when it has another size", async () => {
    const proofOf = async (text: string) => {
      const unit = await readUnitObject(compileC(text));
      return { unit, proof: await matchUnit(unit, target) };
    };
    const same = await proofOf(source);
    expect(same.proof.reachProblem(atom(same.unit, "table"))).toBeUndefined();
    expect(same.proof.reachProblem(atom(same.unit, "room"))).toBeUndefined();
    const grown = await proofOf(source.replace("room[25]", "room[40]"));
    expect(grown.proof.isMatched(atom(grown.unit, "user"))).toBe(true);
    expect(grown.proof.reachProblem(atom(grown.unit, "room"))?.text).toContain("it has 40 bytes here");
  });
});

describe("behind a variable, what the sanitizer of bounds reports with has no name", () => {
  const checked = `
#line 1 "lib/fixture.c"
    int table[4]; char wide[6];
    void __ubsan_handle_out_of_bounds(void *data, unsigned long index) { (void)data; (void)index; }
    int user(int x) { return table[x] + wide[x + 1]; }`;
  const next = "long another = 3; long last = 4;";
  const flags = [...shipped, "-fsanitize=bounds"];
  const first = compileC("long first = 1;", shipped);
  const target = linkKernel([first, compileC(checked, flags), compileC(next, shipped)]);

  test("it is no part of the variable", () => {
    const address = target.addressOf("first");
    expect(target.roomAt(address)).toBeGreaterThan(100);
    expect(sizeProblem(8, address, target)).toBeUndefined();
  });

  test("a variable of an odd size before it is none either", () => {
    const odd = linkKernel([
      compileC("char first[5] = { 1, 2, 3, 4, 5 };", shipped),
      compileC(checked, flags),
      compileC(next, shipped),
    ]);
    const address = odd.addressOf("first");
    expect(sizeProblem(5, address, odd)).toBeUndefined();
    expect(sizeProblem(3, address, odd)).toContain("which is more than padding");
  });

  test("anything else there is", () => {
    const address = target.addressOf("first");
    const room = target.roomAt(address) ?? 0;
    expect(sizeProblem(8, address, changed(target, address + 8))).toContain("which is more than padding");
    expect(sizeProblem(8, address, changed(target, address + room - 8))).toContain("which is more than padding");
    const larger = compileC("long first[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };", shipped);
    const other = linkKernel([larger, compileC(checked, flags), compileC(next, shipped)]);
    expect(sizeProblem(72, other.addressOf("first"), other)).toBeUndefined();
    expect(sizeProblem(8, other.addressOf("first"), other)).toContain("which is more than padding");
  });

  /** With another byte at a place. */
  function changed(from: typeof target, at: number): TargetObject {
    return {
      ...{ name: from.name, roomAt: (address: number) => from.roomAt(address), sectionAt: () => ".data" },
      bytesAt: (address: number, length: number) => {
        const bytes = Uint8Array.from(from.bytesAt(address, length) ?? []);
        if (at >= address && at < address + length) bytes[at - address] = 0xa5;
        return bytes;
      },
    } as unknown as TargetObject;
  }
});

test("the symbol table of a module tells sizes", () => {
  const target = new ModuleObject("fixture", link([compileC(source, shipped)], ["-r"]), "fixture.ko");
  const [table] = target.symbolsNamed("table");
  expect(target.sizesAt(table?.address ?? 0)).toEqual([68]);
  expect(sizeProblem(68, table?.address ?? 0, target)).toBeUndefined();
  expect(sizeProblem(60, table?.address ?? 0, target)).toBe("it has 60 bytes here, and 68 in fixture");
  expect(sizeProblem(60, table?.address ?? 0, target, true)).toBeUndefined();
  expect(sizeProblem(72, table?.address ?? 0, target, true)).toBe("it has 72 bytes here, and 68 in fixture");
});
