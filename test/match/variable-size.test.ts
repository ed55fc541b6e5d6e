import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
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

test("the symbol table of a module tells sizes", () => {
  const target = new ModuleObject("fixture", link([compileC(source, shipped)], ["-r"]), "fixture.ko");
  const [table] = target.symbolsNamed("table");
  expect(target.sizesAt(table?.address ?? 0)).toEqual([68]);
  expect(sizeProblem(68, table?.address ?? 0, target)).toBeUndefined();
  expect(sizeProblem(60, table?.address ?? 0, target)).toBe("it has 60 bytes here, and 68 in fixture");
  expect(sizeProblem(60, table?.address ?? 0, target, true)).toBeUndefined();
  expect(sizeProblem(72, table?.address ?? 0, target, true)).toBe("it has 72 bytes here, and 68 in fixture");
});
