import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { foldersLeftOut, includeGraph } from "../../kernel/tree/include-graph.ts";
import { membershipOf } from "../../kernel/tree/units.ts";
import { counted } from "../../support/counted.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";
import type { AffectedUnit, BuiltUnit } from "./affected-unit.ts";
import { type IncludedChange, unitsWithDifference } from "./differing-units.ts";

/**
 * Finds the units that this kernel builds and whose text a changed header (or an included C file) changes: by the #include lines of the sources, then
 * Kbuild's lists, then the compiler's word on what they read, and where that is not enough a comparison of the preprocessed text without line marks.
 * @throws KmendError `TOO_MANY_UNITS` (exit 4) with the list of them.
 */
export async function unitsThatSee(change: IncludedChange, context: BuildContext): Promise<AffectedUnit[]> {
  const { paths: headers } = change;
  const { tree, progress, signal, maxUnits } = context;
  const found = await progress.phase("includes", "Find the units that include changed files", async (status) => {
    const graph = await includeGraph(tree.path, context.kernelFolder, foldersLeftOut(tree.environment), signal);
    const candidates = graph.unitsThatMaySee(headers);
    const built: BuiltUnit[] = [];
    for (const batch of batchesOf(candidates)) {
      status(
        `${candidates.length} source files may include ${headers.join(", ")}; ${built.length} of this kernel do so far`,
      );
      const membership = await membershipOf(kbuildOf(context), batch);
      for (const [source, member] of membership) if (member.kind !== "not-built") built.push({ source, member });
      // Kbuild takes minutes to tell for half of the kernel what a small part of it shows.
      if (built.length > maxUnits * candidatesPerUnit) break;
    }
    return built.sort((a, b) => (a.source < b.source ? -1 : 1));
  });
  refuseTooMany(found, headers, maxUnits, candidatesPerUnit);
  if (found.length === 0) return [];
  progress.note(
    `${headers.join(", ")}: ${counted(found.length, "unit")} of this kernel may include it; asking the compiler what ${found.length === 1 ? "it reads" : "they read"}`,
  );
  const affected = await unitsWithDifference(found, change, context);
  refuseTooMany(affected, headers, maxUnits, 1);
  progress.note(
    `${affected.length === 1 ? "1 of them sees" : `${affected.length} of them see`} a difference and ${affected.length === 1 ? "is" : "are"} compiled without and with the patch`,
  );
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
  units: readonly BuiltUnit[],
  headers: readonly string[],
  maxUnits: number,
  factor: number,
): void {
  const limit = maxUnits * factor;
  if (units.length <= limit) return;
  const shown = factor === 1 ? byFolder(units) : units.slice(0, 20).map(({ source }) => source);
  const all = headers.join(", ");
  throw new KmendError({
    code: "TOO_MANY_UNITS",
    message:
      factor === 1
        ? `${counted(units.length, "unit")} of this kernel ${units.length === 1 ? "sees" : "see"} the change of ${all}`
        : `more than ${limit} units of this kernel include ${all}`,
    why:
      factor === 1
        ? `more than ${limit} would have to be compiled twice:\n${shown.join("\n")}`
        : `each of them would have to be looked at, and up to ${maxUnits} may be compiled twice; among them are:\n${shown.join("\n")}\n…`,
    hint: "move the changed lines into the C files that need them, or allow more with --max-units N",
    exitCode: ExitCode.refused,
  });
}

/** All of them, one line for each folder: `net/ipv4: tcp.c udp.c`. */
function byFolder(units: readonly BuiltUnit[]): string[] {
  const folders = new Map<string, string[]>();
  for (const { source } of units) {
    const folder = dirname(source);
    folders.set(folder, [...(folders.get(folder) ?? []), basename(source)]);
  }
  return [...folders].map(([folder, names]) => `${folder}: ${names.join(" ")}`).sort();
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
