import { copyFile, readdir, readFile, rename, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { exists, rethrowDiskErrors, sweepTemporaries, temporaryBeside, withLock } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import type { Progress } from "../../support/progress.ts";
import { removeFolders } from "../../support/run.ts";
import { acquireSource, type TreeSource } from "../sources/fetch-source.ts";
import { type MakeOptions, makeInTree, waitForGuarded } from "./guard.ts";

/** What an image is built from. */
export interface ImageInputs {
  readonly source: TreeSource;
  readonly configPath: string;
  /** Folder of the cache for this source and configuration. */
  readonly folder: string;
  /** Further arguments of make. */
  readonly makeFlags?: readonly string[] | undefined;
  /** Compilers at once; default all cores. */
  readonly jobs?: number | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** A kernel that was built from a tree. */
export interface BuiltKernel {
  readonly imagePath: string;
  /** Configuration after `make olddefconfig`. */
  readonly configPath: string;
  readonly symversPath: string;
  /** `…/lib/modules/<release>`; undefined when the configuration has no module. */
  readonly modulesDir: string | undefined;
}

/** How often the status line shows the time, in milliseconds. */
const statusMilliseconds = 5000;

/**
 * Compiles a whole kernel with its modules in a private copy of a source tree, once, and keeps what patch modules need of it.
 * @throws KmendError `CONFIG_WITHOUT_LIVEPATCH`, `IMAGE_BUILD_FAILED`, and the errors of copying.
 */
export async function buildImage(inputs: ImageInputs): Promise<BuiltKernel> {
  const { folder, progress } = inputs;
  const result = join(folder, "result");
  await makeFolder(folder).catch(rethrowDiskErrors);
  await withLock(
    join(folder, "image.lock"),
    async () => {
      if (await exists(result)) return;
      await makeImage(inputs, result).finally(() => cleanUp(folder, progress));
    },
    {
      onWait: (pid) => progress.note(`process ${pid} is building the same kernel; waiting for it`),
      signal: inputs.signal,
    },
  );
  const release = (await readFile(join(result, "release"), "utf8")).trim();
  const modules = join(result, "lib/modules", release);
  return {
    imagePath: join(result, "bzImage"),
    configPath: join(result, "config"),
    symversPath: join(result, "Module.symvers"),
    modulesDir: (await exists(modules)) ? modules : undefined,
  };
}

/** Hundreds of megabytes of objects are of no use to anybody, least of all half of them. The log stays. */
async function cleanUp(folder: string, progress: Progress): Promise<void> {
  await waitForGuarded(join(folder, "image.guard"), progress);
  await removeFolders([join(folder, "tree")]);
  for (const name of await readdir(folder))
    if (name.startsWith(`.result.${process.pid}.`)) await removeFolders([join(folder, name)]);
}

async function makeImage(inputs: ImageInputs, result: string): Promise<void> {
  const { folder, progress, signal, source } = inputs;
  const tree = join(folder, "tree");
  const guard = join(folder, "image.guard");
  const log = join(folder, "image.log");
  requireLivepatch(await readFile(inputs.configPath, "utf8"), inputs.configPath);
  await waitForGuarded(guard, progress, signal);
  await removeFolders([tree]);
  await sweepTemporaries(folder);
  await rm(log, { force: true });
  progress.note(
    `there is no image of this kernel, neither in ${source.path} nor in /boot: the whole kernel is compiled, once, which takes minutes or ` +
      "hours, by the number of its modules; what comes out is kept for later builds from the same source and configuration; --image FILE would spare it",
  );
  await progress.phase("copy", "Copy the kernel source", () => acquireSource(source, tree, guard, signal));
  await progress.phase("build-image", "Build the kernel, which takes long", async (status) => {
    const started = performance.now();
    let compiled = 0;
    const onOutput = (piece: string): void => {
      compiled += piece.match(compiledLine)?.length ?? 0;
    };
    const make = async (...goals: readonly string[]): Promise<void> => {
      const tell = (): void => {
        const files = compiled === 0 ? "" : `, ${compiled} files compiled`;
        status(`make ${goals.at(-1)}, ${duration(performance.now() - started)}${files}`);
      };
      tell();
      const timer = setInterval(tell, statusMilliseconds);
      try {
        await runMake(tree, [...(inputs.makeFlags ?? []), ...goals], { guard, log, onOutput, signal });
      } finally {
        clearInterval(timer);
      }
    };
    const jobs = `-j${inputs.jobs ?? availableParallelism()}`;
    const config = join(tree, ".config");
    await copyFile(inputs.configPath, config).catch(rethrowDiskErrors);
    await make("olddefconfig");
    const text = await readFile(config, "utf8");
    requireLivepatch(text, inputs.configPath);
    await make(jobs, "bzImage", "modules");
    const temporary = temporaryBeside(result);
    await makeFolder(temporary).catch(rethrowDiskErrors);
    const hasModules = (await readFile(join(tree, "modules.order"), "utf8").catch(() => "")).trim() !== "";
    if (hasModules) await make(jobs, `INSTALL_MOD_PATH=${temporary}`, "modules_install");
    const files = [
      ["arch/x86/boot/bzImage", "bzImage"],
      [".config", "config"],
      ["Module.symvers", "Module.symvers"],
      ["System.map", "System.map"],
      ["include/config/kernel.release", "release"],
    ] as const;
    for (const [from, to] of files) await copyFile(join(tree, from), join(temporary, to)).catch(rethrowDiskErrors);
    await rename(temporary, result);
  });
}

/** Kbuild's short form of the commands that compile, which it prints one to a line. */
const compiledLine = /^ {2}(CC|AS)( \[M\])? /gm;

function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function requireLivepatch(config: string, where: string): void {
  if (/^CONFIG_LIVEPATCH=y$/m.test(config)) return;
  throw new KmendError({
    code: "CONFIG_WITHOUT_LIVEPATCH",
    message: "a kernel of this configuration cannot be live patched",
    where,
    why: "CONFIG_LIVEPATCH is off, or one of the options that it depends on",
    hint: "set it with make menuconfig (it needs MODULES, SYSFS, KALLSYMS_ALL and DYNAMIC_FTRACE_WITH_REGS)",
    exitCode: ExitCode.usage,
  });
}

async function runMake(tree: string, goals: readonly string[], options: MakeOptions): Promise<void> {
  const failed = await makeInTree(tree, goals, options);
  if (failed === undefined) return;
  const errors = failed.lines.filter((line) => /error|Error|No rule/.test(line));
  throw new KmendError({
    code: "IMAGE_BUILD_FAILED",
    message: `the kernel cannot be built from this tree: make ${goals.at(-1)} failed`,
    where: options.log,
    why: (errors.length > 0 ? errors : failed.lines).slice(-10).join("\n"),
    hint: "see whether make builds this source with this configuration; --image FILE names an image that was built elsewhere",
    exitCode: ExitCode.environment,
    cause: failed.cause,
  });
}
