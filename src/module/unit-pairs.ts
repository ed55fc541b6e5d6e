import { mkdir, readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import type { ChangedFile, ChangeSet } from "../change/change-set.ts";
import { keepLineNumbers } from "../change/line-marks.ts";
import type { Progress } from "../support/progress.ts";
import { type Refusal, refuse } from "../support/refusals.ts";
import { mapConcurrently } from "../support/run.ts";
import { compileUnit, recordCommands, type UnitCache, type UnitCommand } from "../tree/compile.ts";
import type { PreparedTree } from "../tree/prepare.ts";
import { createShadow } from "../tree/shadow.ts";
import { type Membership, membershipOf } from "../tree/units.ts";

/** A translation unit that the patch touches, compiled without and with it. */
export interface UnitPair {
  /** Source path relative to the tree. */
  readonly source: string;
  /** `vmlinux` or the module's name. */
  readonly object: string;
  /** Undefined for a unit that the patch adds. */
  readonly original: Uint8Array | undefined;
  readonly patched: Uint8Array;
  /** Path of the patched object while the build lasts, for tools that read debug information. */
  readonly patchedPath: string;
}

export interface CompiledUnits {
  readonly pairs: readonly UnitPair[];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  /** Touched files that this kernel does not build. */
  readonly notBuilt: readonly string[];
}

/** Where and how units are compiled. */
export interface Workshop {
  readonly tree: PreparedTree;
  readonly cache: UnitCache;
  /** Private folder of this build. */
  readonly folder: string;
  readonly jobs: number;
  readonly logFile: string;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
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
 */
export async function compileUnits(change: ChangeSet, workshop: Workshop): Promise<CompiledUnits> {
  const { tree, cache, folder, progress } = workshop;
  const sorted = sortFiles(change.files);
  const sources = sorted.sources.map(({ path }) => path);
  const commands = new Map(await Promise.all(sources.map(async (path) => [path, await cache.command(path)] as const)));
  const patchedFiles = markedFiles(change.files);
  const originalShadow = join(folder, "original");
  const patchedShadow = join(folder, "patched");

  const makefileChanged = sorted.makefiles.length > 0;
  const unknown = sorted.sources.filter(
    ({ path, kind }) => kind === "added" || commands.get(path) === undefined || makefileChanged,
  );
  let membership = new Map<string, Membership>();
  if (unknown.length > 0) {
    // Kbuild is asked about the patched Makefiles, so that units which the patch adds are known to it.
    const asked = join(folder, "asked");
    await createShadow(
      tree.path,
      asked,
      patchedFiles,
      unknown.map(({ path }) => dirname(path)),
    );
    membership = await progress.phase("kbuild", "Ask Kbuild what is built", () =>
      membershipOf(
        tree.environment,
        asked,
        unknown.map(({ path }) => path),
        folder,
      ),
    );
  }
  const units: TouchedUnit[] = [];
  const notBuilt = [...sorted.outside];
  const refusals: Refusal[] = [...sorted.refusals];
  for (const file of sorted.sources) {
    const member = membership.get(file.path);
    const command = commands.get(file.path);
    if (member?.kind === "not-built") notBuilt.push(file.path);
    else if (file.path.endsWith(".S")) refusals.push(refuse("ASSEMBLY", file.path, file.path));
    else if (file.kind === "deleted") refusals.push(refuse("NEW_UNIT", file.path, file.path, removedUnit));
    else
      units.push({
        source: file.path,
        object: command?.object ?? member?.object ?? "",
        isNew: file.kind === "added",
        command,
      });
  }
  refusals.push(...checkMakefiles(sorted.makefiles, units));

  const originals = await progress.phase("original", `Compile ${count(units.length, "original unit")}`, () =>
    compileOriginals(
      units.filter((unit) => !unit.isNew),
      originalShadow,
      workshop,
    ),
  );
  const folders = units.flatMap(({ object }) => foldersOf(object));
  await createShadow(tree.path, patchedShadow, patchedFiles, folders);
  await progress.phase("patched", `Compile ${count(units.length, "patched unit")}`, async () => {
    const added = units.filter((unit) => unit.command === undefined);
    const recorded = await recordCommands(tree, patchedShadow, added, workshop);
    for (const [index, unit] of added.entries()) unit.command = recorded[index];
    const rest = units.filter((unit) => !added.includes(unit));
    await mapConcurrently(rest, workshop.jobs, (unit) =>
      compileUnit(unit.command as UnitCommand, patchedShadow, workshop),
    );
  });
  const pairs = await Promise.all(
    units.map(async ({ source, object, command }): Promise<UnitPair> => {
      const patchedPath = join(patchedShadow, object);
      return {
        source,
        object: command?.module ?? "vmlinux",
        original: originals.get(source),
        patched: await readFile(patchedPath),
        patchedPath,
      };
    }),
  );
  return { pairs, refusals, notes: sorted.notes, notBuilt };
}

const removedUnit = {
  problem: "the patch removes a source file whose code stays in the running kernel",
  advice: "leave the file in place; code that nothing calls any more does no harm",
};

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

/**
 * The original build of each unit: from the cache, else compiled now. Commands that are not known yet are recorded by Kbuild, which compiles too.
 */
async function compileOriginals(
  units: readonly TouchedUnit[],
  shadow: string,
  workshop: Workshop,
): Promise<Map<string, Uint8Array>> {
  const { tree, cache } = workshop;
  const objects = new Map<string, Uint8Array>();
  for (const { source, command } of units) {
    const known = command === undefined ? undefined : await cache.object(command);
    if (known !== undefined) objects.set(source, known);
  }
  const missing = units.filter(({ source }) => !objects.has(source));
  if (missing.length === 0) return objects;
  await mkdir(shadow, { recursive: true });
  await createShadow(
    tree.path,
    shadow,
    new Map(),
    missing.flatMap(({ object }) => foldersOf(object)),
  );
  const unrecorded = missing.filter(({ command }) => command === undefined);
  const recorded = await recordCommands(tree, shadow, unrecorded, workshop);
  for (const [index, unit] of unrecorded.entries()) unit.command = recorded[index];
  const rest = missing.filter((unit) => !unrecorded.includes(unit));
  await mapConcurrently(rest, workshop.jobs, (unit) => compileUnit(unit.command as UnitCommand, shadow, workshop));
  for (const unit of missing) {
    const object = await readFile(join(shadow, unit.object));
    objects.set(unit.source, object);
    await cache.keepObject(unit.command as UnitCommand, object);
    await cache.keepCommand(unit.command as UnitCommand);
  }
  return objects;
}

/** Folders that must be real in a shadow so that a compile writes into it: the object's own, and each one that a `..` in its path steps out of. */
function foldersOf(object: string): string[] {
  const folders = [dirname(normalize(object))];
  const parts = object.split("/");
  parts.forEach((part, index) => {
    if (part === "..") folders.push(normalize(parts.slice(0, index).join("/")));
  });
  return folders;
}

/** Files with their new content; C files with `#line` directives that keep old line numbers. */
function markedFiles(files: readonly ChangedFile[]): Map<string, Uint8Array | null> {
  return new Map(
    files.map(({ path, original, patched }) => {
      const marked =
        original !== null && patched !== null && /\.[ch]$/.test(path) ? keepLineNumbers(original, patched) : patched;
      return [path, marked];
    }),
  );
}

interface SortedFiles {
  readonly sources: readonly ChangedFile[];
  readonly makefiles: readonly ChangedFile[];
  /** Never part of a kernel image. */
  readonly outside: readonly string[];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

function sortFiles(files: readonly ChangedFile[]): SortedFiles {
  const sources: ChangedFile[] = [];
  const makefiles: ChangedFile[] = [];
  const outside: string[] = [];
  const refusals: Refusal[] = [];
  const notes: string[] = [];
  for (const file of files) {
    const { path } = file;
    if (
      /^(Documentation|tools|samples|scripts|LICENSES|usr|certs)\//.test(path) ||
      /\.(rst|txt|md|yaml|dts|dtsi)$/.test(path) ||
      path === "MAINTAINERS"
    )
      outside.push(path);
    else if (/\.[cS]$/.test(path)) sources.push(file);
    else if (/(^|\/)(Makefile|Kbuild)[^/]*$/.test(path)) makefiles.push(file);
    else if (/(^|\/)Kconfig[^/]*$/.test(path))
      notes.push(`${path}: the configuration of the running kernel stays as it is`);
    else if (file.kind === "added") notes.push(`${path}: new file, seen by the units of this patch only`);
    else refusals.push(refuse("HEADER_CHANGED", path, path));
  }
  return { sources, makefiles, outside, refusals, notes };
}

/** A Makefile may only gain objects that the patch itself brings. */
function checkMakefiles(makefiles: readonly ChangedFile[], units: readonly TouchedUnit[]): Refusal[] {
  const refusals: Refusal[] = [];
  const added = new Set(
    units.filter(({ isNew }) => isNew).map(({ object }) => object.slice(object.lastIndexOf("/") + 1)),
  );
  for (const { path, original, patched } of makefiles) {
    if (original === null || patched === null) continue;
    const before = wordsOf(original);
    const after = wordsOf(patched);
    const gone = [...before].filter((word) => !after.has(word));
    const fresh = [...after].filter((word) => !before.has(word) && !added.has(word));
    const problem = [
      gone.length > 0 ? `${path} no longer has ${gone.join(" ")}` : "",
      fresh.length > 0 ? `${path} now has ${fresh.join(" ")}` : "",
    ].filter(Boolean);
    if (problem.length > 0)
      refusals.push(
        refuse("MAKEFILE", path, path, {
          problem: `${problem.join(", and ")}, which may change how other units are built`,
        }),
      );
  }
  return refusals;
}

/** The words of a Makefile without comments, continuation marks and the assignments' left sides that name an object list. */
function wordsOf(file: Uint8Array): Set<string> {
  const text = Buffer.from(file).toString("utf8").replace(/#.*$/gm, "").replaceAll("\\\n", " ");
  return new Set(text.split(/\s+/).filter((word) => word !== "" && !/^(:=|\+=|=)$/.test(word)));
}
