import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { ExitCode, KmendError } from "../support/errors.ts";
import type { Progress } from "../support/progress.ts";
import { foldersLeftOut, includeGraph } from "../tree/include-graph.ts";
import { runKbuild } from "../tree/kbuild.ts";
import type { PreparedTree } from "../tree/prepare.ts";
import { createShadow, foldersOf } from "../tree/shadow.ts";
import { preprocessedPath } from "../tree/unit-command.ts";
import { type Membership, membershipOf } from "../tree/units.ts";
import { kbuildOf, type Workshop } from "./workshop.ts";

/** A unit that sees a changed file that it includes. */
export interface AffectedUnit {
  readonly source: string;
  readonly member: Exclude<Membership, { kind: "not-built" }>;
}

/**
 * Finds the units that this kernel builds and whose text a changed header (or an included C file) changes: by the #include lines of the sources, then
 * Kbuild's lists, then a comparison of the preprocessed text without line marks.
 * @param headers changed files that units include, relative to the tree.
 * @param files content of all changed files.
 * @throws KmendError `TOO_MANY_UNITS` (exit 4) with the first of them.
 */
export async function unitsThatSee(
  headers: readonly string[],
  files: ReadonlyMap<string, Uint8Array | null>,
  workshop: Workshop,
): Promise<AffectedUnit[]> {
  const { tree, progress, signal, maxUnits } = workshop;
  const found = await progress.phase("includes", "Find the units that include changed files", async (status) => {
    const graph = await includeGraph(tree.path, workshop.kernelFolder, foldersLeftOut(tree.environment), signal);
    const candidates = graph.unitsThatMaySee(headers);
    const built: AffectedUnit[] = [];
    for (const batch of batchesOf(candidates)) {
      status(
        `${candidates.length} source files may include ${headers.join(", ")}; ${built.length} of this kernel do so far`,
      );
      const membership = await membershipOf(kbuildOf(workshop), batch);
      for (const [source, member] of membership) if (member.kind !== "not-built") built.push({ source, member });
      // Kbuild takes minutes to tell for half of the kernel what a small part of it shows.
      if (built.length > maxUnits * candidatesPerUnit) break;
    }
    return built.sort((a, b) => (a.source < b.source ? -1 : 1));
  });
  refuseTooMany(found, headers, maxUnits, candidatesPerUnit);
  if (found.length === 0) return [];
  progress.note(
    `${headers.join(", ")}: ${found.length} units of this kernel include it; comparing what the compiler sees of it`,
  );
  const affected = await withDifferentText(found, files, workshop, progress);
  refuseTooMany(affected, headers, maxUnits, 1);
  progress.note(`${affected.length} of them see a difference and are compiled without and with the patch`);
  return affected;
}

/** Source files that are asked for at once. */
const batchSize = 400;

/** Files in parts, those of the largest folders first: Kbuild answers by folders. */
function batchesOf(sources: readonly string[]): string[][] {
  const folders = new Map<string, string[]>();
  for (const source of sources) {
    const known = folders.get(dirname(source));
    if (known === undefined) folders.set(dirname(source), [source]);
    else known.push(source);
  }
  const batches: string[][] = [];
  for (const group of [...folders.values()].sort((a, b) => b.length - a.length)) {
    const last = batches.at(-1);
    if (last === undefined || last.length >= batchSize) batches.push(group);
    else last.push(...group);
  }
  return batches;
}

/** How many more units than allowed are preprocessed, since a changed macro touches only the units that use it. */
const candidatesPerUnit = 4;

/** @param factor of `maxUnits`: how many are too many. */
function refuseTooMany(
  units: readonly AffectedUnit[],
  headers: readonly string[],
  maxUnits: number,
  factor: number,
): void {
  const limit = maxUnits * factor;
  if (units.length <= limit) return;
  const shown = units.slice(0, 20).map(({ source }) => source);
  const all = headers.join(", ");
  throw new KmendError({
    code: "TOO_MANY_UNITS",
    message:
      factor === 1
        ? `${units.length} units of this kernel see the change of ${all}`
        : `more than ${limit} units of this kernel include ${all}`,
    why:
      factor === 1
        ? `more than ${limit} would have to be compiled twice:\n${shown.join("\n")}\n…`
        : `each of them would have to be looked at, and up to ${maxUnits} may be compiled twice; among them are:\n${shown.join("\n")}\n…`,
    hint: "move the changed lines into the C files that need them, or allow more with --max-units N",
    exitCode: ExitCode.refused,
  });
}

/** Those units whose preprocessed text differs between the two states of the sources. */
async function withDifferentText(
  units: readonly AffectedUnit[],
  files: ReadonlyMap<string, Uint8Array | null>,
  workshop: Workshop,
  progress: Progress,
): Promise<AffectedUnit[]> {
  const { tree, folder } = workshop;
  const folders = units.flatMap(({ member }) => foldersOf(member.object));
  const before = join(folder, "text-original");
  const after = join(folder, "text-patched");
  createShadow(tree.path, before, new Map(), folders);
  createShadow(tree.path, after, files, folders);
  await progress.phase("preprocess", `Preprocess ${units.length} units twice`, async () => {
    await preprocess(tree, before, units, workshop);
    await preprocess(tree, after, units, workshop);
  });
  const affected: AffectedUnit[] = [];
  for (const unit of units) {
    const path = preprocessedPath(unit.member.object);
    const [old, fresh] = await Promise.all([textOf(join(before, path)), textOf(join(after, path))]);
    // A unit that does not preprocess is left to the compiler, whose words say more.
    if (old === undefined || fresh === undefined || old !== fresh) affected.push(unit);
  }
  return affected;
}

async function preprocess(
  tree: PreparedTree,
  shadow: string,
  units: readonly AffectedUnit[],
  workshop: Workshop,
): Promise<void> {
  await runKbuild(
    tree.environment,
    shadow,
    units.map(({ member }) => preprocessedPath(member.object)),
    { jobs: workshop.jobs, keepGoing: true, logFile: workshop.logFile, signal: workshop.signal, allowFailure: true },
  );
}

/** Preprocessed text without line marks, blank lines and the folder that it was made in. */
async function textOf(path: string): Promise<string | undefined> {
  const text = await readFile(path, "latin1").catch(() => undefined);
  return text
    ?.split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .join("\n");
}

/**
 * Makes sure that no unit of the patched shadow read the unpatched version of a changed file: a path with `..` behind a symbolic link leads out of the
 * shadow. Reads the dependency files that the compiler wrote, or what Kbuild made of them.
 * @throws KmendError `STALE_INCLUDE`
 */
export async function requireShadowedIncludes(
  objects: readonly string[],
  shadow: string,
  tree: string,
  changed: ReadonlySet<string>,
): Promise<void> {
  const tracked = await realpath(tree);
  for (const object of objects) {
    const file = join(shadow, dirname(object), `.${basename(object)}`);
    const text = await readFile(`${file}.d`, "utf8").catch(() => readFile(`${file}.cmd`, "utf8"));
    const suspicious = text.split(/[\s\\]+/).filter((path) => path.includes("/../"));
    for (const path of new Set(suspicious)) {
      const real = await realpath(join(shadow, path)).catch(() => "");
      if (real.startsWith(`${tracked}/`) && changed.has(relative(tracked, real))) {
        throw new KmendError({
          code: "STALE_INCLUDE",
          message: `${object} was compiled with the unpatched ${relative(tracked, real)}`,
          where: path,
          why: "it is included by a path that leads out of the private copy of the tree",
          hint: "please report this with the patch and the kernel's release",
        });
      }
    }
  }
}
