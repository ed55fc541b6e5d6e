import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, sha256, writeFileAtomically } from "../../support/cache.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { mapConcurrently, type RunResult, run } from "../../support/run.ts";
import type { CompilerCache } from "./ccache.ts";
import { plainEnvironment, runKbuild } from "./kbuild.ts";
import { compileError, type KbuildTree, type UnitCommand, unitBuildOptions } from "./unit-command.ts";

/** How units are compiled. */
export interface CompileOptions {
  readonly logFile: string;
  /** Looked into before a recorded command is run; units that are left to Kbuild are always compiled. */
  readonly compilerCache?: CompilerCache | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One unit to be compiled in a folder that looks like its tree. */
export interface CompileTask {
  readonly unit: UnitCommand;
  readonly folder: string;
}

/**
 * Compiles many units, on `jobs` cores. Those whose sources Kbuild makes first are left to Kbuild, one run for each folder, since several of them may
 * need the same file.
 * @throws KmendError `COMPILE_FAILED` of the first that fails.
 */
export async function compileAll(
  tree: KbuildTree,
  tasks: readonly CompileTask[],
  options: CompileOptions & { readonly jobs: number },
): Promise<void> {
  const { jobs } = options;
  const byKbuild = tasks.filter(({ unit }) => unit.needsKbuild === true);
  const folders = [...new Set(byKbuild.map((task) => task.folder))];
  const share = Math.max(1, Math.floor(jobs / folders.length));
  const work: (() => Promise<unknown>)[] = [
    ...folders.map((folder) => () => {
      const units = byKbuild.filter((task) => task.folder === folder).map(({ unit }) => unit);
      return compileByKbuild(tree, units, folder, { ...options, jobs: share });
    }),
    ...tasks
      .filter(({ unit }) => unit.needsKbuild !== true)
      .map(
        ({ unit, folder }) =>
          () =>
            compileUnit(unit, folder, options),
      ),
  ];
  await mapConcurrently(work, jobs, (each) => each());
}

async function compileByKbuild(
  tree: KbuildTree,
  units: readonly UnitCommand[],
  folder: string,
  { jobs, logFile, signal }: CompileOptions & { readonly jobs: number },
): Promise<void> {
  const settings = await unitBuildOptions(tree.path);
  const objects = units.map(({ object }) => object);
  const all = { ...settings, jobs, logFile, signal, keepGoing: true, allowFailure: true };
  const result = await runKbuild(tree.environment, folder, objects, all);
  if (result.exitCode !== 0) throw compileError(units.map(({ source }) => source).join(", "), result.all, logFile);
}

/**
 * Runs a recorded command in `folder` (the tree's shadow); the object appears at its usual path there.
 * @returns wall time in milliseconds.
 * @throws KmendError `COMPILE_FAILED`
 */
export async function compileUnit(unit: UnitCommand, folder: string, options: CompileOptions): Promise<number> {
  const { logFile, signal, compilerCache } = options;
  const attempt = async (
    command: string,
    environment: Readonly<Record<string, string>>,
  ): Promise<RunResult | number> => {
    const env = { ...plainEnvironment(), ...environment };
    const result = await run("sh", ["-c", command], {
      cwd: folder,
      env,
      cleanEnv: true,
      logFile,
      signal,
      allowFailure: true,
    });
    // objtool comes after a semicolon: a missing object tells that the compiler failed.
    const isMade = result.exitCode === 0 && (await exists(join(folder, unit.object)));
    return isMade ? result.milliseconds : result;
  };
  if (compilerCache !== undefined) {
    const { program, environment } = compilerCache;
    const cached = await attempt(`'${program}' ${unit.command}`, environment);
    // A cache that cannot be written is no reason to fail; a wrong program fails once more.
    if (typeof cached === "number") return cached;
  }
  const result = await attempt(unit.command, {});
  if (typeof result !== "number") throw compileError(unit.source, result.all, logFile);
  return result;
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
    await makeFolder(this.#folder);
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
