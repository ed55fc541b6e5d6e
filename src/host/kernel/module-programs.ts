import { exists } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { findProgram } from "../../support/find-program.ts";
import { type RunResult, run } from "../../support/run.ts";
import { insertFailure } from "../load/insert-failure.ts";
import { lockFile } from "./run-folder.ts";

/** In the environment of each program that changes which modules are loaded, by which the next kmend knows one whose kmend was killed. */
export const moduleProgramMark = { KMEND_MODULE_PROGRAM: "1" } as const;

/** Loading takes as long as the module's own init function does, which may have to wait for other patches. Milliseconds. */
const insertLimit = 600_000;

/**
 * Loads a module with insmod(8), kmod(8) or busybox. In messages the file is called `named`. The program gets a process group of its own: an interrupt from the terminal must not end it
 * between the load and what kmend then has to take back.
 * @throws KmendError `LOAD_FAILED`, or `LOAD_FORBIDDEN` (exit 7) when a policy of the kernel is the reason.
 */
export async function insertModule(file: string, named = file): Promise<void> {
  const result = await runModuleProgram("insmod", file, insertLimit);
  if (result.exitCode !== 0) throw insertFailure(named, result.all.trim().replaceAll(file, named));
}

/** Unloads a module. @returns false when it is in use. @throws KmendError `UNLOAD_FAILED`. */
export async function removeModule(name: string): Promise<boolean> {
  const result = await runModuleProgram("rmmod", name, 60_000);
  if (result.exitCode === 0) return true;
  if (/in use|busy|temporarily unavailable/i.test(result.all)) return false;
  throw new KmendError({
    code: "UNLOAD_FAILED",
    message: `the kernel does not unload ${name}`,
    why: result.all.trim(),
    hint: "dmesg shows what the kernel says about it",
  });
}

/** Opens its first operand for the rest of its words, a command. */
const holding = 'exec 9<"$0"; exec "$@"';

/** Runs a program that keeps the lock file open until its end, so that whoever takes the lock over from a killed kmend sees it. */
async function runModuleProgram(name: string, operand: string, timeout: number): Promise<RunResult> {
  const words = [...(await moduleProgram(name)), operand];
  const held = (await exists(lockFile)) ? ["sh", "-c", holding, lockFile, ...words] : words;
  const [program, ...rest] = held as [string, ...string[]];
  return run(program, rest, { allowFailure: true, ownProcessGroup: true, env: moduleProgramMark, timeout });
}

async function moduleProgram(name: string): Promise<readonly [string, ...string[]]> {
  const own = await findProgram(name);
  if (own !== undefined) return [own];
  for (const many of ["kmod", "busybox"]) {
    const path = await findProgram(many);
    if (path !== undefined) return [path, name];
  }
  throw new KmendError({
    code: "PROGRAM_MISSING",
    message: `${name} is not installed`,
    hint: "install the package kmod",
    exitCode: ExitCode.environment,
  });
}
