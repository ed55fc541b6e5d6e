import type { TextInstruction } from "../../diff/arch/arch.ts";
import type { Atom } from "../../diff/atoms.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { findProgram } from "../../support/find-program.ts";
import { run } from "../../support/run.ts";

/**
 * The instructions of a function, by our own disassembler or by the target's objdump.
 * @param path of the object.
 * @throws KmendError `PROGRAM_MISSING` when there is neither.
 */
export async function disassemble(unit: UnitObject, atom: Atom, path: string): Promise<readonly TextInstruction[]> {
  const own = unit.arch.text?.(atom.bytes);
  if (own !== undefined) return own;
  const { stdout } = await run(await objdumpFor(unit), [
    ...["--disassemble", "--no-show-raw-insn", "--wide", `--section=${atom.section.name}`],
    ...[`--start-address=${atom.start}`, `--stop-address=${atom.end}`, path],
  ]);
  return readObjdump(stdout, atom);
}

async function objdumpFor({ arch, elf }: UnitObject): Promise<string> {
  const gnuName = elf.littleEndian ? arch.gnuName.little : arch.gnuName.big;
  const name = `${gnuName}-objdump`;
  // Tools of a machine itself have no prefix there.
  const found =
    (await findProgram(name)) ?? (process.arch === nodeNames[arch.name] ? await findProgram("objdump") : undefined);
  if (found !== undefined) return found;
  throw new KmendError({
    code: "PROGRAM_MISSING",
    message: `${name} is not installed`,
    why: `kmend has no disassembler of its own for ${arch.name}`,
    hint: `apt-get install -y --no-install-recommends binutils-${gnuName.replaceAll("_", "-")}`,
    exitCode: ExitCode.environment,
  });
}

/** `process.arch` of the machines that kmend runs on. */
const nodeNames: Readonly<Record<string, string>> = {
  aarch64: "arm64",
  ppc64: "ppc64",
  s390x: "s390x",
  loongarch64: "loong64",
};

/** Lines such as `   1c:	bl	0 <take>`; the place in angle brackets is what the relocation or the symbols say, and is named in another way. */
function readObjdump(output: string, { start, end }: Atom): TextInstruction[] {
  const found = output.split("\n").flatMap((line) => {
    const match = /^\s*([0-9a-f]+):\s+(.*?)\s*$/.exec(line);
    if (match === null) return [];
    const branch = /[\s,]([0-9a-f]+) <[^>]*>$/.exec(match[2] as string);
    const text = (match[2] as string).replace(/ <[^>]*>/g, "").replace(/\s+/g, " ");
    const target = branch === null ? undefined : Number.parseInt(branch[1] as string, 16) - start;
    return [{ offset: Number.parseInt(match[1] as string, 16) - start, text, target }];
  });
  return found.map((each, at) => ({ ...each, length: (found[at + 1]?.offset ?? end - start) - each.offset }));
}
