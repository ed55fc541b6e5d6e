import { randomInt } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { build } from "../build/build.ts";
import type { BuildRequest } from "../build/build-facts.ts";
import type { BuildResult, KeptObject } from "../build/build-types.ts";
import { readExtension, requireExtension, type TextualChange } from "../change/extension.ts";
import { GitTree, originalRef } from "../change/git.ts";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { type PatchOptions, readPatchOptions } from "../change/patch-options.ts";
import { readOriginalConfig } from "../kernel/sources/original-config.ts";
import { readTreeVersion } from "../kernel/sources/source-tree.ts";
import { sourceDate, sourceDateEpoch } from "../package/source-date.ts";
import { rethrowDiskErrors, sha256 } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { version } from "../support/version.ts";
import { findOriginal, type Original } from "./original-source.ts";
import { keptFiles, OriginalMemory, type SeriesUpdate } from "./original-state.ts";
import { descriptionFileName, patchFileName, writeUpdate } from "./update-bundle.ts";
import { updateIdPattern } from "./update-manifest.ts";

/** What an update is made from. */
export type UpdateChange =
  | { readonly kind: "patch"; readonly file: string; readonly options: readonly string[] }
  | { readonly kind: "diffext"; readonly extension: string }
  | { readonly kind: "git"; readonly commit: string }
  /** Nothing: only what later updates need is made. */
  | { readonly kind: "prebuild" };

/** What {@link createUpdate} is asked to do; each field is the option of that name. */
export interface CreateOptions {
  /** Kernel source tree; only read. */
  readonly source: string;
  readonly change: UpdateChange;
  readonly series?: boolean | undefined;
  /** Default: 8 random letters and digits. */
  readonly id?: string | undefined;
  readonly description?: string | undefined;
  /** Folder with `.config` and `System.map`; default `ksplice` in the tree. */
  readonly config?: string | undefined;
  readonly jobs?: number | undefined;
  readonly buildModules?: boolean | undefined;
  readonly maxUnits?: number | undefined;
  readonly allowLayout?: readonly string[] | undefined;
  /** See `BuildOptions`. */
  readonly removable?: boolean | undefined;
  /** Puts the objects of the build into the update. */
  readonly debug?: boolean | undefined;
  /** Folder for the archive; default the current one. */
  readonly output?: string | undefined;
  /** See `BuildRequest`. */
  readonly onFacts?: BuildRequest["onFacts"];
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The stable `--json` of `kmend create`. */
export interface CreateResult {
  readonly schema: 1;
  /** `prebuilt`: nothing was to be changed; `forgotten`: the earlier original state was. */
  readonly outcome: "created" | "prebuilt" | "forgotten" | "unchanged" | "refused";
  readonly update: {
    readonly id: string;
    readonly path: string;
    readonly sha256: string;
    readonly bytes: number;
    readonly after: readonly string[];
  } | null;
  /** Null when nothing was built. */
  readonly build: BuildResult | null;
  readonly notes: readonly string[];
}

/**
 * Makes an update of a kernel from its source tree. The tree, its git index, HEAD and branches are never changed.
 * @throws KmendError of reading the change, of finding the kernel, and of building.
 */
export async function createUpdate(options: CreateOptions): Promise<CreateResult> {
  const { source, change } = options;
  const progress = options.progress ?? new SilentProgress();
  const id = checkedId(options.id ?? randomId());
  const patchOptions = readPatchOptions(change.kind === "patch" ? change.options : []);
  if (change.kind === "diffext") requireExtension(change.extension);
  await readTreeVersion(source);
  const memory = await OriginalMemory.of(source);
  // What the tree's last update is, is read at the beginning and written at the end.
  return memory.alone(() => createFrom({ ...options, progress }, id, patchOptions), {
    onWait: (pid) => progress.note(`process ${pid} is making an update from the same source tree; waiting for it`),
    signal: options.signal,
  });
}

async function createFrom(
  options: CreateOptions & { readonly progress: Progress },
  id: string,
  patchOptions: PatchOptions,
): Promise<CreateResult> {
  const { source, change, progress, signal } = options;
  const git = await gitOf(options);
  const series = options.series === true;
  if (change.kind === "prebuild" && series) return forget(source, git);
  if (change.kind !== "prebuild") await requireOutputFolder(options.output ?? ".");
  const config = await readOriginalConfig(source, options.config);
  await git?.requireClean();
  const commit = change.kind === "git" ? await git?.requireCommit(change.commit) : undefined;
  const patchFile = change.kind === "patch" ? await readPatchFile(change.file, patchOptions.strip) : undefined;
  if (git !== undefined && (await git.commit(originalRef)) === undefined && commit !== undefined) {
    await git.remember(await git.requireCommit("HEAD"), "snap");
  }
  const extension = change.kind === "diffext" ? change.extension : undefined;
  const commitTree = commit === undefined ? undefined : git;
  const { jobs } = options;
  const original = await findOriginal({
    ...{ tree: source, config, series, extension, jobs, progress, signal },
    git: commitTree,
  }).catch((error: unknown) => {
    throw error instanceof KmendError ? inOriginalConfig(error) : error;
  });
  for (const note of original.notes) progress.note(note);
  if (change.kind === "prebuild") {
    return { schema: 1, outcome: "prebuilt", update: null, build: null, notes: original.notes };
  }
  const work = await mkdtemp(join(tmpdir(), "kmend-create-")).catch(rethrowDiskErrors);
  try {
    const found = await progress.phase("patch", "Read the change", async (): Promise<TextualChange> => {
      if (patchFile !== undefined) {
        const applied = await applyPatches([patchFile], original.tree, work, patchOptions.words, original.files);
        return { change: applied, text: patchFile.content, inputs: [patchFile.name] };
      }
      if (extension !== undefined) return readExtension(source, extension, original.tree, original.files, signal);
      return (git as GitTree).read(original.commit as string, commit as string);
    });
    const made = await buildUpdate(options, id, original, found, commit);
    if (made.outcome === "created" && series && commit !== undefined && original.commit !== null) {
      await git?.remember(original.commit, "freeze");
    }
    return made;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The options of a build that name files of the kernel are files of ORIG_CONFIG here, and `--config` means another thing. */
function inOriginalConfig(error: KmendError): KmendError {
  const { code, message, where, why, exitCode, cause } = error;
  const hint = error.hint
    ?.replaceAll(/--image\b(?: FILE)?/g, "ORIG_CONFIG/vmlinuz")
    .replaceAll(/--config FILE/g, "ORIG_CONFIG/.config")
    .replaceAll(/--symvers FILE/g, "ORIG_CONFIG/Module.symvers")
    .replaceAll(/\bwith (?=ORIG_CONFIG\/)/g, "as ");
  return hint === error.hint ? error : new KmendError({ code, message, where, why, hint, exitCode, cause });
}

async function buildUpdate(
  options: CreateOptions,
  id: string,
  original: Original,
  found: TextualChange,
  commit: string | undefined,
): Promise<CreateResult> {
  const { progress, signal, description = "" } = options;
  const notes = [...original.notes, ...found.change.notes];
  if (found.change.files.length === 0) return { schema: 1, outcome: "unchanged", update: null, build: null, notes };
  const work = await mkdtemp(join(tmpdir(), "kmend-create-")).catch(rethrowDiskErrors);
  const objects: KeptObject[] = [];
  try {
    const result = await build({
      patches: [],
      change: async () => found.change,
      target: original.kernel,
      ...(original.files.size + original.modules.length > 0
        ? { earlier: { files: original.files, modules: original.modules } }
        : {}),
      name: `ksplice-${id}`,
      output: work,
      replace: false,
      jobs: options.jobs,
      maxUnits: options.maxUnits,
      allowLayout: options.allowLayout,
      removable: options.removable,
      onFacts: options.onFacts,
      ...(options.debug === true ? { onObjects: (more: readonly KeptObject[]) => void objects.push(...more) } : {}),
      progress,
      signal,
    });
    if (result.outcome === "refused" || result.module === null) {
      const outcome = result.outcome === "refused" ? "refused" : "unchanged";
      return { schema: 1, outcome, update: null, build: result, notes };
    }
    const module = await readFile(result.module.path);
    const files = new Map<string, Uint8Array>([
      [patchFileName, found.text],
      [descriptionFileName, Buffer.from(description === "" ? "" : `${description.trimEnd()}\n`)],
      [basename(result.module.path), module],
      ...debugFiles(objects),
    ]);
    const epoch = await timeOf(options, found, commit);
    const after = original.series.map(({ id: earlier, sha256: digest }) => ({ id: earlier, sha256: digest }));
    const full = options.buildModules === true ? await completeModules(options, original, found, result) : new Map();
    for (const [target, content] of full) files.set(`modules/${target}.ko`, content);
    const path = await writeUpdate(
      {
        schema: 1,
        id,
        description: (description.split("\n")[0] ?? "").slice(0, 4096),
        tool: `kmend ${version()}`,
        created: new Date(epoch * 1000).toISOString().replace(/\.\d+Z$/, "Z"),
        kernel: result.kernel,
        targets: [...new Set(result.functions.map(({ object }) => object))].sort(),
        functions: result.functions.map((entry) => ({ ...entry, reason: entry.reason.slice(0, 4096) })),
        module: { name: result.module.name, file: basename(result.module.path), sha256: result.module.sha256 },
        after,
        modules: [...full.keys()].sort().map((target) => ({ target, file: `modules/${target}.ko` })),
      },
      files,
      epoch,
      options.output ?? ".",
      signal,
    );
    const update: SeriesUpdate = { id, module: result.module.name, sha256: result.module.sha256 };
    await original.memory.keepModule(update, module);
    const changed = new Map(found.change.files.map(({ path: file, patched }) => [file, patched]));
    const last = { ...update, commit: commit ?? null, files: keptFiles(changed) };
    await original.memory.write({ ...original.state, last });
    const { size } = await stat(path);
    const digest = sha256(await readFile(path));
    const written = { id, path, sha256: digest, bytes: size, after: after.map((earlier) => earlier.id) };
    // The module is inside of the archive now.
    const built = { ...result, module: { ...result.module, path: `${path}:${basename(result.module.path)}` } };
    return { schema: 1, outcome: "created", update: written, build: built, notes };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function completeModules(
  options: CreateOptions,
  original: Original,
  found: TextualChange,
  result: BuildResult,
): Promise<Map<string, Uint8Array>> {
  const { buildCompleteModules } = await import("../build/complete-modules.ts");
  const changed = new Map([
    ...original.files,
    ...found.change.files.map(({ path, patched }) => [path, patched] as const),
  ]);
  return buildCompleteModules(original.kernel, changed, result.units, options);
}

/** Objects by kind and unit; a unit that is linked into several objects has one file for each. */
function debugFiles(objects: readonly KeptObject[]): [string, Uint8Array][] {
  return objects.map(({ kind, unit, object, content }) => [
    `debug/${object}/${unit.replace(/\.[cS]$/, "")}.${kind}.o`,
    content,
  ]);
}

/** Time of the newest thing that the change was read from, or SOURCE_DATE_EPOCH; the time of a commit is its own. */
async function timeOf(options: CreateOptions, found: TextualChange, commit: string | undefined): Promise<number> {
  if (commit === undefined || sourceDateEpoch() !== undefined) return sourceDate(found.inputs);
  return (await GitTree.open(options.source, options.signal)).timeOf(commit);
}

/** The repository of the tree, where it is needed: for a commit, and for forgetting the original of one. */
async function gitOf({ source, change, series, signal }: CreateOptions): Promise<GitTree | undefined> {
  if (change.kind === "git") return GitTree.open(source, signal);
  if (change.kind !== "prebuild" || series !== true) return undefined;
  return GitTree.open(source, signal).catch((error: unknown) => {
    if (error instanceof KmendError && error.code === "NOT_A_GIT_TREE") return undefined;
    throw error;
  });
}

/** `--prebuild --series`: the present state is the original from now on. */
async function forget(source: string, git: GitTree | undefined): Promise<CreateResult> {
  // A tree whose updates are made from patches may well be a working tree with changes.
  const remembering = git !== undefined && (await git.commit(originalRef)) !== undefined ? git : undefined;
  await remembering?.requireClean();
  await (await OriginalMemory.of(source)).forget();
  await remembering?.remember(await remembering.requireCommit("HEAD"), "freeze");
  return { schema: 1, outcome: "forgotten", update: null, build: null, notes: [] };
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789";

function randomId(): string {
  return Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join("");
}

function checkedId(id: string): string {
  if (updateIdPattern.test(id)) return id;
  throw new KmendError({
    code: "UPDATE_ID",
    message: `"${id}" cannot be the identifier of an update`,
    why: "it becomes part of the names of a file and of a kernel module: 1 to 47 letters, digits, dashes and underscores, the first a letter or digit",
    hint: "choose another with --id, or leave it out for a random one",
    exitCode: ExitCode.usage,
  });
}
