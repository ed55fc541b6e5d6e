import { baseName } from "../diff/names.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { SectionFlag, SymbolType } from "../elf/constants.ts";
import { isDefined } from "../elf/reader.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** Names of the two objects, for messages. */
interface Names {
  readonly originalName: string;
  readonly patchedName: string;
}

/** Two builds of one unit have at least this part of the names of the smaller in common. */
const leastInCommon = 1 / 4;

/**
 * Refuses to compare what cannot be two builds of one unit: without names in common nothing would be found changed.
 * @throws KmendError `DIFFERENT_MACHINES`, `STRIPPED`, `DIFFERENT_UNITS`.
 */
export function requireComparable(original: UnitObject, patched: UnitObject, input: Names): void {
  requireSameMachine(original, patched, input);
  const [before, after] = [namesOf(original, input.originalName), namesOf(patched, input.patchedName)];
  const common = [...after].filter((name) => before.has(name)).length;
  const smaller = Math.min(before.size, after.size);
  const isEmptied = before.size > 0 && common === 0;
  if (!isEmptied && common >= smaller * leastInCommon) return;
  throw new KmendError({
    code: "DIFFERENT_UNITS",
    message: `${input.originalName} and ${input.patchedName} are not two builds of one unit`,
    why: `of the ${before.size} functions and variables of the one and the ${after.size} of the other, ${common} have the same name`,
    hint: "give two builds of one source file, without and with the change",
    exitCode: ExitCode.usage,
  });
}

/** What the source names. @throws KmendError `STRIPPED` for code without any name. */
function namesOf({ elf }: UnitObject, path: string): ReadonlySet<string> {
  const named = elf.symbols.filter(
    (symbol) =>
      isDefined(symbol) && symbol.name !== "" && symbol.type !== SymbolType.section && symbol.type !== SymbolType.file,
  );
  const hasCode = elf.sections.some(({ flags, size }) => (flags & SectionFlag.execinstr) !== 0 && size > 0);
  if (named.length > 0 || !hasCode) return new Set(named.map(({ name }) => baseName(name)));
  throw new KmendError({
    code: "STRIPPED",
    message: `${path} has code, and no symbols`,
    where: path,
    why: "functions are found by their names",
    hint: "give the object as the compiler wrote it; strip --strip-debug keeps the symbols",
    exitCode: ExitCode.usage,
  });
}

/** @throws KmendError `DIFFERENT_MACHINES` when the two cannot be builds of one unit for one kernel. */
function requireSameMachine(original: UnitObject, patched: UnitObject, input: Names): void {
  const describe = ({ elf, arch }: UnitObject): string =>
    `${arch.name}, ${elf.littleEndian ? "little" : "big"}-endian, e_flags 0x${elf.header.flags.toString(16)}`;
  const [before, after] = [describe(original), describe(patched)];
  if (before === after) return;
  throw new KmendError({
    code: "DIFFERENT_MACHINES",
    message: `${input.originalName} and ${input.patchedName} are not for the same machine`,
    why: `the one is ${before}, the other ${after}`,
    hint: "give two builds of one source file, made by the same compiler with the same options",
    exitCode: ExitCode.usage,
  });
}
