import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { applyPatches, readPatchFile } from "../../change/patch-files.ts";
import { KernelImage } from "../../kernel/image/kernel-image.ts";
import { LazyFile } from "../../kernel/image/lazy-file.ts";
import { readSymvers } from "../../kernel/modules/symvers.ts";
import type { TargetKernel } from "../../kernel/target-kernel.ts";
import { UnitCache } from "../../kernel/tree/compile.ts";
import type { PreparedTree } from "../../kernel/tree/prepare.ts";
import { rethrowDiskErrors } from "../../support/cache.ts";
import { decompress } from "../../support/decompress.ts";
import { KmendError, messageOf } from "../../support/errors.ts";
import { type Progress, SilentProgress } from "../../support/progress.ts";
import { buildOf } from "../build.ts";
import type { BuildContext } from "../build-context.ts";
import type { BuildResult } from "../build-types.ts";
import { diffObjects } from "../diff-objects.ts";
import type { Session } from "../examination.ts";
import { changeIn, type OpenedExternal } from "../external-module.ts";
import type { CompiledUnits } from "../pairs/unit-pairs.ts";
import { Prefetch } from "../prefetch.ts";
import { type Answer, AnsweredQuestions, incomplete } from "./questions.ts";
import { type BuildRepro, type DiffRepro, notARepro, readPairs, readRepro } from "./repro-record.ts";
import { isUnits } from "./save-repro.ts";

/** A place where a repetition came to something else. */
export interface RepeatDifference {
  /** Field of the result, for example `refusals`. */
  readonly field: string;
  readonly before: unknown;
  readonly now: unknown;
}

/** What `kmend repeat` found: the stable `--json`. */
export interface RepeatResult {
  readonly schema: 1;
  readonly command: "build" | "diff";
  /** Version of kmend that wrote the folder. */
  readonly kmend: string;
  readonly outcome: "same" | "different";
  readonly differences: readonly RepeatDifference[];
  /** What the run comes to now: a BuildResult or a DiffResult, or an error. */
  readonly result: unknown;
}

export interface RepeatOptions {
  /** Folder that `--save-repro` wrote. */
  readonly folder: string;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Repeats a run from the folder that it left: compares, proves and judges again, without tree, compiler and packages of the kernel; patch(1) and pahole(1) are all that
 * it needs. A module is not linked again.
 * Nothing in the folder is run, and nothing outside of it is read: whoever made it may be a stranger.
 * @throws KmendError `NOT_A_REPRO` (exit 2), `REPRO_INCOMPLETE`, `PROGRAM_MISSING` (exit 5).
 */
export async function repeatRun({
  folder,
  progress = new SilentProgress(),
  signal,
}: RepeatOptions): Promise<RepeatResult> {
  const repro = await readRepro(folder);
  const now = await endingOf(() =>
    repro.command === "build" ? repeatBuild(folder, repro, progress, signal) : repeatDiff(folder, repro),
  );
  const before = repro.result ?? { error: repro.error };
  const differences = differencesOf(before, now);
  const { command, kmend } = repro;
  return {
    ...{ schema: 1, command, kmend },
    outcome: differences.length === 0 ? "same" : "different",
    ...{ differences, result: now },
  };
}

/** Errors of the folder and of the machine, which are no outcome of the run. */
const notOfTheRun = new Set(["NOT_A_REPRO", "REPRO_INCOMPLETE", "PROGRAM_MISSING", "INTERRUPTED", "DISK_FULL"]);

/** Fields that a repetition has otherwise: times, the module that is not linked, and what is said of it. */
const notRepeated = new Set(["milliseconds", "module", "adapted"]);

function differencesOf(before: object, now: object): RepeatDifference[] {
  // As the record has it.
  const [one, other] = [before, now].map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>) as [
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  return [...new Set([...Object.keys(one), ...Object.keys(other)])]
    .filter((field) => !notRepeated.has(field) && !isDeepStrictEqual(one[field], other[field]))
    .map((field) => ({ field, before: one[field], now: other[field] }));
}

async function endingOf(run: () => Promise<object>): Promise<object> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof KmendError)) return { error: { code: "INTERNAL", message: messageOf(error) } };
    if (notOfTheRun.has(error.code)) throw error;
    return { error: { code: error.code, message: error.message } };
  }
}

async function repeatDiff(folder: string, { options, called }: DiffRepro): Promise<object> {
  const at = (path: string | undefined): string | undefined => path && join(folder, path);
  const { original, patched, symtab, symvers } = options;
  const result = await diffObjects({
    ...options,
    ...{ original: join(folder, original), patched: join(folder, patched), symtab: at(symtab), symvers: at(symvers) },
  });
  // In the names of that run.
  const names = new Map(Object.entries(called).map(([name, path]) => [join(folder, name), path]));
  return JSON.parse(JSON.stringify(result), (_key, value: unknown) => {
    if (typeof value !== "string") return value;
    return [...names].reduce((text, [here, path]) => text.replaceAll(here, path), value);
  }) as object;
}

async function repeatBuild(
  folder: string,
  repro: BuildRepro,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<BuildResult> {
  const work = await mkdtemp(join(tmpdir(), "kmend-repeat-")).catch(rethrowDiskErrors);
  const prefetch = new Prefetch();
  try {
    const session = await reopen({ folder: resolve(folder), work, repro, prefetch, progress, signal });
    return await buildOf(session);
  } finally {
    await prefetch.stop();
    await rm(work, { recursive: true, force: true });
  }
}

interface Place {
  readonly folder: string;
  /** A private folder. */
  readonly work: string;
  readonly repro: BuildRepro;
  readonly prefetch: Prefetch;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
}

/** The build as it was when its patch had been applied. */
async function reopen(place: Place): Promise<Session> {
  const { folder, work, repro, prefetch, progress, signal } = place;
  const kernel = await reopenKernel(place);
  const { options, compiler, external } = repro;
  const tree: PreparedTree = {
    path: join(folder, "sources"),
    release: kernel.release,
    makeArguments: [],
    environment: { variables: {}, external: external?.folder },
  };
  const patches = await Promise.all(repro.patches.map((path) => readPatchFile(join(folder, path))));
  const change = await changeIn(tree, (path) => applyPatches(patches, path, join(work, "applied")));
  const context: BuildContext = {
    ...{ tree, cache: new UnitCache(join(work, "cache")), earlier: new Map(), folder: work },
    ...{ kernelFolder: work, toolchainFolder: work, maxUnits: Number.MAX_SAFE_INTEGER, jobs: availableParallelism() },
    ...{ logFile: join(work, "build.log"), progress, signal, prefetch },
  };
  const image = repro.kernel.isFromElsewhere ? { image: kernel.imagePath } : {};
  return {
    options: { ...options, ...image, patches: repro.patches },
    name: options.name ?? "",
    output: work,
    ...{ kernel, kernelTree: tree, context, change, compiler, progress },
    template: prefetch.of(() => Promise.reject(incomplete("how Kbuild builds modules"))),
    external: external && (await reopenExternal(folder, external)),
    started: performance.now(),
    questions: new AnsweredQuestions(await answersIn(folder, repro)),
    isRepeated: true,
  };
}

/** A kernel of which only the slices are there that the run looked at. */
async function reopenKernel({ folder, work, repro, signal }: Place): Promise<TargetKernel> {
  const { imageSize, slices, release, distribution, packageVersion, buildId } = repro.kernel;
  const unpack = async (name: string): Promise<Buffer> => {
    const path = join(folder, name);
    return decompress(await readFile(path), path, { signal });
  };
  const content = await unpack("image.gz");
  let at = 0;
  const parts = slices.map(({ offset, size }) => {
    const part = content.subarray(at, at + size);
    at += size;
    if (part.length !== size || offset + size > imageSize)
      throw notARepro(folder, "the slices of the image do not fit");
    return { offset, content: part };
  });
  const file = LazyFile.partial(imageSize, parts, (offset) =>
    incomplete(`the image at offset 0x${offset.toString(16)}`),
  );
  await mkdir(join(work, "image")).catch(rethrowDiskErrors);
  await writeFile(join(work, "image/kallsyms.bin"), await unpack("kallsyms.gz")).catch(rethrowDiskErrors);
  const symversPath = join(work, "Module.symvers");
  await writeFile(symversPath, await unpack("Module.symvers.gz")).catch(rethrowDiskErrors);
  const imagePath = `vmlinuz-${release}`;
  const image = new KernelImage({ path: imagePath, file, sha256: "", folder: join(work, "image") });
  if (image.buildId !== buildId) throw notARepro(folder, `the image's build id is ${image.buildId}, not ${buildId}`);
  return {
    ...{ release, distribution, packageVersion, buildId, image, imagePath, symversPath },
    configPath: join(folder, "config"),
    modulesDir: join(folder, "modules"),
    folder: work,
    source: () => Promise.reject(incomplete("the kernel's source")),
  };
}

async function reopenExternal(
  folder: string,
  { name, release, compiler }: NonNullable<BuildRepro["external"]>,
): Promise<OpenedExternal> {
  const path = join(folder, "external", `${name}.ko`);
  const symvers = await readSymvers(join(folder, "external/Module.symvers"));
  return { name, path, release, compiler, file: await readFile(path), source: folder, symvers };
}

async function answersIn(folder: string, { answers, files }: BuildRepro): Promise<Map<string, Answer>> {
  return new Map(
    Object.entries(answers).map(([name, answer]): [string, Answer] => {
      if (!isUnits(name) || "error" in answer) return [name, answer];
      const value = answer.value as Omit<CompiledUnits, "pairs"> & { readonly pairs?: unknown };
      const pairs = readPairs(folder, value?.pairs, files).map(({ source, object, original, patched }) => ({
        ...{ source, object, originalPath: original && join(folder, original) },
        patchedPath: join(folder, patched),
      }));
      return [name, { value: { ...value, pairs } }];
    }),
  );
}
