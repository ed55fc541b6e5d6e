import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { compareObjects, type DiffResult } from "../../src/build/compare-objects.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC, kernelPrelude } from "../fixtures/compile.ts";
import { type ShiftPlace, shiftedUnit, shiftedUnits } from "../fixtures/shifted-units.ts";

/** All cells with KMEND_MATRIX=full (hours); without it, each compiler and option with some fixtures, or with as many as the variable says. */
const asked = process.env["KMEND_MATRIX"];
const isFull = asked === "full";

interface Build {
  readonly name: string;
  readonly compile: (source: string, flags: readonly string[]) => Uint8Array;
  /** An instruction that traps. */
  readonly trap: string;
  readonly isClang: boolean;
  readonly isX86: boolean;
}

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}

const prelude = kernelPrelude.replace(/#line 1\n$/, "");
const crossBuild = (name: string, machine: Machine, trap: string): Build[] => {
  if (toolchain(machine) === undefined) return [];
  const compile: Build["compile"] = (source, flags) => compileFor(machine, [...flags, "-w"], `${prelude}${source}`);
  return [{ name, compile, trap, isClang: machine.compiler.startsWith("clang"), isX86: false }];
};
const clangs = ["clang-14", "clang-16", "clang-19"];

const builds: readonly Build[] = [
  ...["gcc", ...clangs].filter(isInstalled).map((name) => ({
    ...{ name, trap: "ud2", isClang: name !== "gcc", isX86: true },
    compile: (source: string, flags: readonly string[]) => compileC(source, [...flags, "-w"], name),
  })),
  ...crossBuild("aarch64 gcc", machines.aarch64, "brk #0x800"),
  ...clangs.flatMap((compiler) => {
    const flags = ["--target=aarch64-linux-gnu", "-mgeneral-regs-only", "-fpatchable-function-entry=4,2"];
    return crossBuild(`aarch64 ${compiler}`, { ...machines.aarch64, compiler, flags }, "brk #0x800");
  }),
  ...crossBuild("ppc64le", machines.ppc64leFar, "twi 31,0,0"),
  ...crossBuild("s390x", machines.s390x, "mc 0,0"),
  ...crossBuild("loongarch64", machines.loongarch64, "break 1"),
];

const kcfi = (build: Build): boolean => build.isClang && /clang-1[69]/.test(build.name);
const options: readonly (readonly [string, readonly string[], (build: Build) => boolean])[] = [
  ["-O2", [], () => true],
  ["-Os", ["-Os"], () => true],
  ["UBSAN", ["-fsanitize=bounds", "-fsanitize=shift", "-fsanitize=signed-integer-overflow"], () => true],
  ["KCOV", ["-fsanitize-coverage=trace-pc"], () => true],
  ["kCFI", ["-fsanitize=kcfi"], kcfi],
  ["room before functions", ["-fpatchable-function-entry=16,16"], ({ isX86 }) => isX86],
];

const shifts: readonly (readonly [ShiftPlace, number])[] = [
  ["before", 0],
  ["before", 1],
  ["before", 100],
  ["middle", 1],
  ["middle", 100],
  ["header", 1],
  ["header", 100],
];

/** A module of PowerPC cannot call a static function of the kernel that gcc calls as a neighbour. */
const isMeant = ({ code, why }: DiffResult["refusals"][number]): boolean =>
  code !== "FAR_REFERENCE" || !why.includes("_help");

const fixtures = Object.entries(shiftedUnits);
const some = Number(asked ?? 3);

/** With -Os, the change makes gcc cut the inline function in two for its other callers as well: their code does change. */
const isChangedElsewhere = (build: Build, option: string, name: string): boolean =>
  !build.isClang && option === "-Os" && name === "warns in a header";

/** What a cell tries: fixture, shift, and whether there are line tables. */
function triesOf(cell: number): { name: string; text: string; place: ShiftPlace; lines: number; hasLines: boolean }[] {
  const all = fixtures.flatMap(([name, text]) =>
    shifts.flatMap(([place, lines]) => [true, false].map((hasLines) => ({ name, text, place, lines, hasLines }))),
  );
  if (isFull) return all;
  // Steps that share no factor with the number of fixtures, shifts and line tables.
  return Array.from({ length: some }, (_, at) => all[((cell * some + at) * 89) % all.length] as (typeof all)[number]);
}

test("there are at least forty fixtures", () => {
  expect(fixtures.length).toBeGreaterThanOrEqual(40);
});

describe.each(builds.map((build, at) => ({ build, at })))("$build.name", ({ build, at }) => {
  const mine = options.filter(([, , isFor]) => isFor(build));
  test.each(mine.map(([option, flags], number) => ({ option, flags, number })))(
    "$option: exactly the function that changes is reported",
    async ({ option, flags, number }) => {
      const unexpected: string[] = [];
      const originals = new Map<string, Uint8Array>();
      for (const { name, text, place, lines, hasLines } of triesOf(at * options.length + number)) {
        if (isChangedElsewhere(build, option, name)) continue;
        const all = [...flags, ...(hasLines ? ["-g"] : []), `-DTRAP="${build.trap}"`];
        const original = originals.get(`${hasLines} ${name}`) ?? build.compile(shiftedUnit(text, place, 0, ""), all);
        originals.set(`${hasLines} ${name}`, original);
        const patched = build.compile(shiftedUnit(text, place, lines, "+ take(x + 77)"), all);
        const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
        const { result } = await compareObjects(original, patched, input);
        const found = [
          ...result.refusals.filter(isMeant).map(({ code, what, why }) => `${code} ${what}: ${why}`),
          ...result.changedFunctions
            .filter((each) => !/^target(\.|$)/.test(each.name))
            .map((each) => `${each.name} ${each.reason}`),
          ...result.newFunctions.filter((each) => !/^target(\.|_|$)/.test(each)),
          ...(result.changedFunctions.some((each) => each.name === "target") ? [] : ["target is missing"]),
        ];
        if (found.length > 0)
          unexpected.push(`${name}, ${lines} ${place}, ${hasLines ? "with" : "without"} lines: ${found.join("; ")}`);
      }
      expect(unexpected).toEqual([]);
    },
    isFull ? 3_600_000 : 30_000 * some,
  );
});
