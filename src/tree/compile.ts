import { mkdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exists, makeOnce, sha256, writeFileAtomically } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";
import { plainEnvironment, runKbuild } from "./kbuild.ts";
import type { PreparedTree } from "./prepare.ts";

/** The shell command that Kbuild recorded for one unit: compiler, then objtool where the kernel runs it per object. */
export interface UnitCommand {
  /** Source path relative to the tree. */
  readonly source: string;
  readonly command: string;
  /** Object path relative to the tree, as Kbuild names it. */
  readonly object: string;
  /** The module that the unit belongs to, with underscores; undefined for a unit of the kernel image. */
  readonly module: string | undefined;
}

/** One function and one variable per section, so that code that moves is not code that changes. */
export const sectionFlags: readonly string[] = ["-ffunction-sections", "-fdata-sections"];

/** `fs/proc/meminfo.c` → `fs/proc/meminfo.o`. */
export function objectPath(source: string): string {
  return source.replace(/\.[cS]$/, ".o");
}

/** `fs/proc/meminfo.o` → `fs/proc/meminfo.i`, Kbuild's target for preprocessed text. */
export function preprocessedPath(object: string): string {
  return object.replace(/\.o$/, ".i");
}

function commandFile(object: string): string {
  return join(dirname(object), `.${basename(object)}.cmd`);
}

/**
 * Compiles units through Kbuild in `folder` and reads the commands that it records.
 * @throws KmendError `COMPILE_FAILED` with the compiler's words.
 */
export async function recordCommands(
  tree: Pick<PreparedTree, "environment" | "path">,
  folder: string,
  units: readonly { readonly source: string; readonly object: string }[],
  options: { jobs: number; logFile: string; signal?: AbortSignal | undefined },
): Promise<UnitCommand[]> {
  if (units.length === 0) return [];
  const result = await runKbuild(
    tree.environment,
    folder,
    units.map(({ object }) => object),
    {
      compilerFlags: sectionFlags,
      variables: await objtoolPerUnit(tree.path),
      jobs: options.jobs,
      logFile: options.logFile,
      signal: options.signal,
      keepGoing: true,
      allowFailure: true,
    },
  );
  if (result.exitCode !== 0)
    throw compileError(units.map(({ source }) => source).join(", "), result.all, options.logFile);
  return Promise.all(
    units.map(async ({ source, object }) =>
      parseCommand(source, object, await readFile(join(folder, commandFile(object)), "utf8")),
    ),
  );
}

/**
 * With IBT, Kbuild puts off objtool until the kernel is linked (scripts/Makefile.lib, `delay-objtool`). Single units need it at once: it writes jump
 * labels, call sites and unwind data, without which the unit is not what the kernel holds. `--link` is what it is then called with.
 */
async function objtoolPerUnit(tree: string): Promise<Record<string, string>> {
  const config = await readFile(join(tree, ".config"), "utf8");
  const isDelayed = /^CONFIG_X86_KERNEL_IBT=y$/m.test(config);
  return isDelayed ? { "delay-objtool": "", objtool: "./tools/objtool/objtool --link" } : {};
}

/** Reads the first line of a `.name.o.cmd` file: `cmd_…` up to 6.3, `savedcmd_…` since. */
export function parseCommand(source: string, object: string, text: string): UnitCommand {
  const line = text.slice(0, text.indexOf("\n"));
  const match = /^(?:saved)?cmd_\S+ := (.*)$/.exec(line);
  if (match === null) throw new Error(`unexpected start of ${commandFile(object)}: ${line.slice(0, 60)}`);
  // Make doubles dollars and escapes hashes when it records (scripts/Kbuild.include, make-cmd).
  const command = (match[1] as string).replaceAll("$$", "$").replaceAll("$(pound)", "#").replaceAll("\\#", "#").trim();
  const module = /(?:^|\s)-DMODULE(?:\s|$)/.test(command)
    ? /-DKBUILD_MODNAME='"([^"]+)"'/.exec(command)?.[1]
    : undefined;
  return { source, object, command, module };
}

/**
 * Runs a recorded command in `folder` (the tree's shadow); the object appears at its usual path there.
 * @returns wall time in milliseconds.
 * @throws KmendError `COMPILE_FAILED`
 */
export async function compileUnit(
  unit: UnitCommand,
  folder: string,
  options: { logFile: string; signal?: AbortSignal | undefined },
): Promise<number> {
  const result = await run("sh", ["-c", unit.command], {
    cwd: folder,
    env: plainEnvironment(),
    cleanEnv: true,
    logFile: options.logFile,
    signal: options.signal,
    allowFailure: true,
  });
  // objtool comes after a semicolon: a missing object tells that the compiler failed.
  if (result.exitCode !== 0 || !(await exists(join(folder, unit.object)))) {
    throw compileError(unit.source, result.all, options.logFile);
  }
  return result.milliseconds;
}

function compileError(what: string, output: string, logFile: string): KmendError {
  if (/No space left on device/.test(output)) {
    return new KmendError({
      code: "NO_SPACE",
      message: "no space left on the disk while compiling",
      where: what,
      hint: "free some space, or choose another cache folder with KMEND_CACHE=DIR",
    });
  }
  const lines = output.trimEnd().split("\n");
  const errors = lines.filter((line) => /: (fatal )?error: /.test(line));
  const others = lines.filter((line) => /error|Error|No rule/.test(line));
  return new KmendError({
    code: "COMPILE_FAILED",
    message: `${what} does not compile`,
    where: what,
    why: (errors.length > 0 ? errors : others.length > 0 ? others : lines).slice(-20).join("\n"),
    hint: `the full log is ${logFile}`,
  });
}

/** Keeps recorded commands and original objects of one prepared tree, so that a later build compiles only what is new. */
export class UnitCache {
  readonly #folder: string;

  /** @param folder folder of the cache for the kernel build and compiler. */
  constructor(folder: string) {
    this.#folder = join(folder, "units");
  }

  async command(source: string): Promise<UnitCommand | undefined> {
    try {
      return JSON.parse(await readFile(this.#path(source, "json"), "utf8")) as UnitCommand;
    } catch {
      return undefined;
    }
  }

  async keepCommand(unit: UnitCommand): Promise<void> {
    await writeFileAtomically(this.#path(unit.source, "json"), JSON.stringify(unit));
  }

  /** The object that `unit`'s command made of the unpatched source, or undefined. */
  async object(unit: UnitCommand): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.objectPath(unit));
    } catch {
      return undefined;
    }
  }

  async keepObject(unit: UnitCommand, object: Uint8Array): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const path = this.objectPath(unit);
    await makeOnce(path, async (temporary) => writeFileAtomically(temporary, object));
  }

  /** Where the original object of a command is kept, once it is. */
  objectPath(unit: UnitCommand): string {
    return this.#path(`${unit.source}-${sha256(unit.command).slice(0, 16)}`, "o");
  }

  #path(source: string, ending: string): string {
    return join(this.#folder, `${source.replaceAll("/", "__")}.${ending}`);
  }
}
