import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ChangedFile, type ChangeSet, readOriginal, type SourceOverlay } from "../../change/change-set.ts";
import { keepLineNumbers } from "../../change/line-marks.ts";
import { seenByEveryReader } from "../../change/plain-change.ts";
import { findCompilerCache } from "../../kernel/tree/ccache.ts";
import { type CompileTask, compileAll, type UnitCache } from "../../kernel/tree/compile.ts";
import { type UnitCommand, unitCommands } from "../../kernel/tree/unit-command.ts";
import { type Membership, membershipOf } from "../../kernel/tree/units.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { exists } from "../../support/cache.ts";
import { counted } from "../../support/counted.ts";
import { packageResource } from "../../support/own-files.ts";
import { mapConcurrently, programStarted } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";
import { isOutsideOfVmlinux } from "../image-parts/image-parts.ts";
import { refuseForRules } from "../image-parts/made-by-rules.ts";
import { neighboursOfNew } from "../image-parts/new-inputs.ts";
import { refuseOutsideOfUnits } from "../image-parts/outside-units.ts";
import { requireShadowedIncludes, unitsThatSee } from "./affected-units.ts";
import { askPatchedTree, askPreparedTree, likelyObjects } from "./ask-kbuild.ts";
import { BuildShadows } from "./build-shadows.ts";
import type { IncludedChange } from "./differing-units.ts";
import { checkMakefiles, type SortedFiles, sortFiles } from "./sort-files.ts";

/** A translation unit that the patch touches, compiled without it. */
export interface OriginalUnit {
  /** Source path relative to the tree. */
  readonly source: string;
  /** `vmlinux` or the module's name. */
  readonly object: string;
  /** Path of the original object; undefined for a unit that the patch adds. */
  readonly originalPath: string | undefined;
}

/** A translation unit that the patch touches, compiled without and with it. */
export interface UnitPair extends OriginalUnit {
  /** Path of the patched object, which is there while the build lasts. */
  readonly patchedPath: string;
}

/**
 * What can be done while compilers run.
 * @param units all units that are being compiled.
 * @param known those of them whose originals are there already.
 */
export type WorkInParallel = (units: readonly OriginalUnit[], known: readonly OriginalUnit[]) => void;

export interface CompiledUnits {
  readonly pairs: readonly UnitPair[];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  /** Touched files that this kernel does not build. */
  readonly notBuilt: readonly string[];
}

interface TouchedUnit {
  readonly source: string;
  readonly object: string;
  readonly isNew: boolean;
  command: UnitCommand | undefined;
}

/**
 * Compiles the two builds of every unit that the change touches, and nothing else. Originals and recorded commands come from the cache where it has
 * them. Both builds happen in shadows of the prepared tree, which itself is only read.
 * @param followed changed headers: the units that see a difference in them are touched too.
 * @param meanwhile called once the compilers run.
 */
export async function compileUnits(
  change: ChangeSet,
  followed: readonly string[],
  context: BuildContext,
  meanwhile: WorkInParallel,
): Promise<CompiledUnits> {
  const { tree, folder, progress } = context;
  const sorted = sortFiles(change.files);
  const earlierFiles = await markedFiles(context.earlier, tree.path);
  const patchedFiles = new Map([
    ...(await neededHeaders(change.files, tree.path)),
    ...earlierFiles,
    ...(await markedFiles(new Map(change.files.map(({ path, patched }) => [path, patched])), tree.path)),
  ]);
  const plain = seenByEveryReader(change.files);
  const included = { plain, files: patchedFiles };
  const shadows = new BuildShadows(tree.path, folder, { original: earlierFiles, patched: patchedFiles });
  const { units, notBuilt, refusals, notes } = await touchedUnits(sorted, followed, included, shadows, context);
  const missing = await withoutOriginal(units, context.cache);
  const title = `Compile ${counted(units.length, "unit")} with the patch${missing.length > 0 ? `, ${missing.length} without` : ""}`;
  const shadow = await progress.phase("compile", title, () =>
    compileBoth(units, missing, patchedFiles, shadows, context, meanwhile),
  );
  const objects = units.map(({ object }) => object);
  await requireShadowedIncludes(objects, shadow, tree.path, new Set(patchedFiles.keys()));
  const pairs = units.flatMap((unit) =>
    originalsOf(unit, context.cache).map((original) => ({ ...original, patchedPath: join(shadow, unit.object) })),
  );
  return { pairs, refusals, notes: [...sorted.notes, ...notes], notBuilt };
}

/** A unit in each object that it is linked into: Kbuild joins the names of several modules by colons, and each has code of its own to be patched. */
function originalsOf({ source, command, isNew }: TouchedUnit, cache: UnitCache): OriginalUnit[] {
  const originalPath = isNew || command === undefined ? undefined : cache.objectPath(command);
  return (command?.module ?? "vmlinux").split(":").map((object) => ({ source, object, originalPath }));
}

/** All units that have to be compiled: touched sources that this kernel builds, and units that include a touched file. */
async function touchedUnits(
  sorted: SortedFiles,
  followed: readonly string[],
  change: Pick<IncludedChange, "plain" | "files">,
  shadows: BuildShadows,
  context: BuildContext,
): Promise<{ units: TouchedUnit[]; notBuilt: string[]; refusals: Refusal[]; notes: string[] }> {
  const { cache } = context;
  const commands = new Map(
    await Promise.all(sorted.sources.map(async ({ path }) => [path, await cache.command(path)] as const)),
  );
  const asked = sorted.sources.filter(
    ({ path, kind }) => kind === "added" || commands.get(path) === undefined || sorted.makefiles.length > 0,
  );
  const names = asked.map(({ path }) => path);
  const isOther = sorted.makefiles.length > 0 || sorted.sources.some(({ kind }) => kind === "added");
  const answer = isOther ? askPatchedTree(names, change.files, context) : askPreparedTree(names, context);
  const { membership, commands: told } = await runAlongside(answer, context.foreseen === undefined, () => {
    const objects = isOther ? [] : likelyObjects(names);
    for (const build of ["patched", "original"] as const) if (objects.length > 0) shadows.open(build, objects);
  });
  const units: TouchedUnit[] = [];
  const refusals: Refusal[] = [];
  const notUnits: string[] = [];
  const droppedUnits = isOther ? await unitsThatThePatchDrops(sorted.sources, membership, context) : new Set();
  for (const { path, kind } of sorted.sources) {
    const member = membership.get(path);
    if (droppedUnits.has(path)) {
      refusals.push(refuse("NEW_UNIT", path, path, kind === "deleted" ? removedUnit : unlistedUnit));
      continue;
    }
    const command = commands.get(path) ?? (member?.kind === "not-built" ? undefined : told.get(member?.object ?? ""));
    if (member?.kind === "not-built" || isOutsideOfVmlinux(path)) notUnits.push(path);
    else if (path.endsWith(".S")) refusals.push(refuse("ASSEMBLY", path, path));
    else if (kind === "deleted") refusals.push(refuse("NEW_UNIT", path, path, removedUnit));
    else
      units.push({ source: path, object: command?.object ?? member?.object ?? "", isNew: kind === "added", command });
  }
  const added = units.filter(({ isNew }) => isNew).map(({ object }) => object);
  refusals.push(...checkMakefiles(sorted.makefiles, added, (path) => existsSync(join(context.tree.path, path))));
  const known = [...sorted.sources, ...sorted.headers].filter(({ kind }) => kind !== "added").map(({ path }) => path);
  const contents = [...sorted.sources, ...sorted.headers].map(({ path, patched }) => [path, patched] as const);
  const plain = new Map([...change.files, ...contents]);
  const neighbours = await neighboursOfNew(sorted.headers, context.tree.path);
  const ruledBy = [...known, ...[...neighbours.keys()].filter((path) => !known.includes(path))];
  const ruled = await refuseForRules(ruledBy, { marked: change.files, plain }, context, neighbours);
  refusals.push(...ruled.refusals);
  const isRuled = (path: string): boolean => ruled.refusals.some(({ what }) => what === path);
  const paths = [...followed, ...notUnits.filter((path) => path.endsWith(".c"))].filter((path) => !isRuled(path));
  const affected = paths.length === 0 ? [] : await unitsThatSee({ ...change, paths }, context);
  const outside = await refuseOutsideOfUnits(sorted, notUnits, { ...change, paths }, context);
  refusals.push(...outside.refusals.filter(({ what }) => !isRuled(what)));
  for (const { source, member, command } of affected) {
    if (!units.some((unit) => unit.source === source))
      units.push({ source, object: member.object, isNew: false, command });
  }
  const seen = affected.length > 0;
  const settled = new Set([...[...ruled.refusals, ...outside.refusals].map(({ what }) => what), ...outside.same]);
  const notBuilt = [...sorted.outside, ...(seen ? [] : [...notUnits, ...followed])];
  const same = seen ? [] : outside.same.map((path) => `${path}: all that this kernel makes of it stays as it is`);
  const notes = [...ruled.notes, ...same];
  return { units, notBuilt: notBuilt.filter((path) => !settled.has(path)), refusals, notes };
}

/** Sources that the kernel is built from and that the patch, or its change of a Makefile, leaves out of it. */
async function unitsThatThePatchDrops(
  sources: readonly ChangedFile[],
  patched: ReadonlyMap<string, Membership>,
  context: BuildContext,
): Promise<ReadonlySet<string>> {
  const unlisted = sources.filter(({ path, kind }) => kind !== "added" && patched.get(path)?.kind === "not-built");
  if (unlisted.length === 0) return new Set();
  const paths = unlisted.map(({ path }) => path).filter((path) => !isOutsideOfVmlinux(path));
  const before = await membershipOf(kbuildOf(context), paths);
  return new Set(paths.filter((path) => before.get(path)?.kind !== "not-built"));
}

/**
 * Does work of this process's own while a program answers: it begins when that has been started, since nothing is started meanwhile. It has ended when this does, also
 * when the answer is an error.
 * @param isNew the question was put just now.
 */
async function runAlongside<Answer>(answer: Promise<Answer>, isNew: boolean, work: () => void): Promise<Answer> {
  const isAsked = isNew ? Promise.race([programStarted(), Promise.allSettled([answer])]) : Promise.resolve();
  const [answered, worked] = await Promise.allSettled([answer, isAsked.then(work)]);
  if (answered.status === "rejected") throw answered.reason;
  if (worked.status === "rejected") throw worked.reason;
  return answered.value;
}

/**
 * Compiles all units with the patch, and `missing` without it; those objects are kept. Both builds share the cores.
 * @returns folder of the build with the patch.
 */
async function compileBoth(
  units: readonly TouchedUnit[],
  missing: readonly TouchedUnit[],
  patchedFiles: SourceOverlay,
  shadows: BuildShadows,
  context: BuildContext,
  meanwhile: WorkInParallel,
): Promise<string> {
  const { tree, cache, folder } = context;
  const shadow = shadows.open("patched", objectsOf(units));
  const original = missing.length > 0 ? shadows.open("original", objectsOf(missing)) : join(folder, "original");
  const unknown = units.filter(({ command }) => command === undefined);
  for (const [folderOfUnit, isNew] of [
    [shadow, true],
    [original, false],
  ] as const) {
    const asked = unknown.filter((unit) => unit.isNew === isNew);
    const commands = await unitCommands(tree, folderOfUnit, asked, context);
    for (const [index, unit] of asked.entries()) unit.command = commands[index];
  }
  const tasks = units.flatMap((unit): CompileTask[] => {
    const command = unit.command as UnitCommand;
    const task = { unit: command, folder: shadow };
    return missing.includes(unit) ? [{ unit: command, folder: original }, task] : [task];
  });
  const compilerCache = await findCompilerCache(tree.path, await addedFiles(patchedFiles, tree.path), folder);
  const compiled = compileAll(tree, tasks, { ...context, compilerCache });
  meanwhile(
    units.flatMap((unit) => originalsOf(unit, cache)),
    units.filter((unit) => !missing.includes(unit)).flatMap((unit) => originalsOf(unit, cache)),
  );
  await compiled;
  await mapConcurrently(missing, context.jobs, async ({ command, object }) => {
    await cache.keepObject(command as UnitCommand, await readFile(join(original, object)));
    await cache.keepCommand(command as UnitCommand);
  });
  return shadow;
}

async function addedFiles(files: SourceOverlay, tree: string): Promise<string[]> {
  const paths = [...files.keys()];
  const known = await Promise.all(paths.map((path) => exists(join(tree, path))));
  return paths.filter((_, index) => known[index] !== true);
}

function objectsOf(units: readonly TouchedUnit[]): string[] {
  return units.map(({ object }) => object);
}

async function withoutOriginal(units: readonly TouchedUnit[], cache: UnitCache): Promise<TouchedUnit[]> {
  const known = await Promise.all(
    units.map(({ command }) => command !== undefined && exists(cache.objectPath(command))),
  );
  return units.filter(({ isNew }, index) => !isNew && known[index] !== true);
}

const removedUnit = {
  problem: "the patch removes a source file whose code stays in the running kernel",
  advice: "keep the file under its name; code that nothing calls any more does no harm",
};

const unlistedUnit = {
  problem: "with the patch its Makefile no longer builds it, and its code stays in the running kernel",
  advice: "leave its line in the Makefile, and change the code in this file",
};

/** Headers for authors of patches (kmend's `include/`), where the tree's `include/` has to have them. */
const authorHeaderPlaces: Readonly<Record<string, readonly string[]>> = {
  "livepatch_helpers.h": ["include/livepatch_helpers.h", "include/linux/livepatch_helpers.h"],
  "kpatch-macros.h": ["include/kpatch-macros.h"],
  "kpatch-syscall.h": ["include/kpatch-syscall.h"],
};

/** The headers for authors, when a file of the change includes one of them. */
async function neededHeaders(files: readonly ChangedFile[], tree: string): Promise<Map<string, Uint8Array>> {
  const names = Object.keys(authorHeaderPlaces);
  const uses = files.some(
    ({ patched }) => patched !== null && names.some((name) => Buffer.from(patched).includes(name)),
  );
  return uses ? authorHeaders(tree) : new Map();
}

/** The headers for authors by the places in the tree where they are found; a kernel's own header of the same name is left alone. */
export async function authorHeaders(tree: string): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const [name, places] of Object.entries(authorHeaderPlaces)) {
    const content = packageResource(`include/${name}`);
    for (const place of places) if (!(await exists(join(tree, place)))) found.set(place, content);
  }
  return found;
}

/** Files with their new content; C files with `#line` directives that keep the line numbers of the kernel's own source. */
async function markedFiles(files: SourceOverlay, tree: string): Promise<Map<string, Uint8Array | null>> {
  const marked = new Map<string, Uint8Array | null>();
  for (const [path, content] of files) {
    const original = content === null || !/\.[ch]$/.test(path) ? null : await readOriginal(tree, path, new Map());
    marked.set(path, content === null || original === null ? content : keepLineNumbers(original, content));
  }
  return marked;
}
