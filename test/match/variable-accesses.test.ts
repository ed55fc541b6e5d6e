import { expect, test } from "vitest";
import { architectureOf } from "../../src/diff/arch/index.ts";
import { accessesOf, accessProblem, type CodeAt } from "../../src/match/variable-accesses.ts";
import { compileC } from "../fixtures/compile.ts";
import { type LinkedKernel, linkKernel } from "./linked-kernel.ts";

const source = `
  int word = 1; long wide = 2; unsigned char byte = 3; int list[8] = { 4 }; int passed = 5; long partly = 6; int unused = 7;
  int word_reader(void) { return word; }
  void word_writer(int x) { word = x; }
  long wide_reader(void) { return wide; }
  int byte_tester(void) { return byte == 9; }
  int list_reader(long i) { return list[i]; }
  void passes(void) { outside(&passed); }
  int low_half(void) { return (int)partly; }
  int of_both(void) { return word + (int)wide; }
`;

function accesses(target: LinkedKernel, name: string): ReturnType<typeof accessesOf> {
  const read = architectureOf(62).dataFlow?.read;
  if (read === undefined) throw new Error("no data flow");
  const section = target.elf.section(".text");
  const code: CodeAt = { address: section?.address ?? 0, bytes: section?.data ?? new Uint8Array() };
  const functionAt = (place: number): CodeAt | undefined => {
    const symbol = target.elf.symbols.find(({ value, size }) => place >= value && place < value + size);
    const bytes = symbol === undefined ? undefined : target.bytesAt(symbol.value, symbol.size);
    return symbol === undefined || bytes === undefined ? undefined : { address: symbol.value, bytes };
  };
  return accessesOf(target.addressOf(name), [code], functionAt, read);
}

test.each([
  ["word", [4], [4]],
  ["wide", [4, 8], []],
  ["byte", [1], []],
  ["list", [4], []],
  ["passed", [], []],
  ["partly", [4], []],
  ["unused", [], []],
])("%s is reached with %j bytes, and written with %j", async (name, widths, stores) => {
  await architectureOf(62).loadDisassembler();
  const found = accesses(linkKernel([compileC(source)]), name);
  expect([...found.widths].sort()).toEqual(widths);
  expect([...found.stores]).toEqual(stores);
});

test("what the kernel's code says of a size", () => {
  const says = (size: number, widths: readonly number[], stores: readonly number[] = []): string | undefined =>
    accessProblem(size, { widths: new Set(widths), stores: new Set(stores) });
  expect(says(4, [4], [4])).toBe("known");
  expect(says(8, [4, 8])).toBe("known");
  expect(says(2, [4])).toContain("code of the kernel reads or writes 4 of it at once");
  expect(says(8, [4], [4])).toContain("code of the kernel writes 4 of it");
  // A long of which only the lower half is read.
  expect(says(8, [4])).toBeUndefined();
  expect(says(8, [])).toBeUndefined();
});
