import fc from "fast-check";
import { expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { KmendError } from "../../src/support/errors.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC } from "../fixtures/compile.ts";

/** Pairs of builds of one unit, of all machines whose compiler is there. */
const pairs = [
  ...Object.values(machines as Readonly<Record<string, Machine>>)
    .filter((machine) => toolchain(machine) !== undefined)
    .map((machine) => [compileFor(machine), compileFor(machine, ["-DPATCHED"])] as const),
  ...[[], ["-g"]].map((flags) => {
    const source = `
      static int state;
      static const int table[] = { 3, 1, 4 };
      __sched int first(int x) { state += x; return take(table[x]); }
      __sched int second(int x) { printk("text %d", x); return first(x + CHANGE); }
      asm(".section __ex_table,\\"a\\"; .long first - ., second - ., 5; .previous");
      asm(".section .smp_locks,\\"a\\"; .long second - .; .previous");`;
    return [compileC(source, [...flags, "-DCHANGE=1"]), compileC(source, [...flags, "-DCHANGE=2"])] as const;
  }),
];

/** Section headers, symbols, relocations and content that the diff reads; damage to debug information is another test's. */
function placesOf(file: Uint8Array): { start: number; end: number }[] {
  const elf = new ElfReader(file);
  const read = elf.sections.filter(({ name, type, size }) => type !== 8 && size > 0 && !name.includes("debug"));
  return [
    { start: 0, end: 64 },
    { start: elf.header.sectionHeaderOffset, end: file.length },
    ...read.map(({ offset, size }) => ({ start: offset, end: offset + size })),
  ];
}

const places = pairs.map(([, patched]) => placesOf(patched));

const value = fc.oneof(
  fc.constantFrom(0n, 1n, 4n, 8n, 0xffn, 0xff00n, 0xff20n, 0xffffn, 0xffffffffn, 1n << 31n, 1n << 40n),
  fc.constantFrom((1n << 50n) + 8n, (1n << 53n) - 1n, 1n << 53n, 1n << 62n, (1n << 64n) - 8n, (1n << 64n) - 1n),
  fc.bigInt({ min: 0n, max: 255n }),
);
const mutation = fc.record({
  range: fc.nat(200),
  place: fc.nat(1 << 20),
  aligned: fc.boolean(),
  width: fc.constantFrom(1, 2, 4, 8),
  value,
});
const damage = fc.record({
  pair: fc.nat(pairs.length - 1),
  side: fc.constantFrom("original", "patched", "same"),
  mutations: fc.array(mutation, { minLength: 1, maxLength: 4 }),
});

test("10,000 damaged objects of all machines are compared without a defect", { timeout: 120_000 }, async () => {
  const outcomes = new Map<string, number>();
  const count = (outcome: string): void => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  const property = fc.asyncProperty(damage, async ({ pair, side, mutations }) => {
    const [original, patched] = pairs[pair] as (typeof pairs)[number];
    const ranges = places[pair] as ReturnType<typeof placesOf>;
    const file = Buffer.from(side === "original" ? original : patched);
    const little = file[5] === 1;
    for (const { range, place, aligned, width, value: bits } of mutations) {
      const { start, end } = ranges[range % ranges.length] as { start: number; end: number };
      const at = start + (place % (end - start));
      const from = aligned ? at & ~3 : at;
      for (let byte = 0; byte < width && from + byte < file.length; byte++)
        file[from + byte] = Number((bits >> BigInt(8 * (little ? byte : width - 1 - byte))) & 0xffn);
    }
    const before = side === "patched" ? original : file;
    const after = side === "original" ? patched : file;
    try {
      const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
      const { result, extract } = await compareObjects(before, after, input);
      count(result.outcome);
      if (side === "same") expect(result).toMatchObject({ outcome: "unchanged", changedFunctions: [], refusals: [] });
      // What is written can be read.
      if (extract !== undefined) expect(new ElfReader(extract).symbols.length).toBeGreaterThan(0);
    } catch (error) {
      if (!(error instanceof KmendError)) throw error;
      count(error.code);
    }
  });
  await fc.assert(property, { numRuns: 10_000, seed: 3 });
  for (const outcome of ["changed", "unchanged", "refused", "ELF_FORMAT"])
    expect(outcomes.get(outcome)).toBeGreaterThan(100);
});
