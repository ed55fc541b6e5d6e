import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { compareCompiler } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { compileUnit } from "../../src/kernel/tree/compile.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import { createShadow, foldersOf } from "../../src/kernel/tree/shadow.ts";
import type { UnitCommand } from "../../src/kernel/tree/unit-command.ts";
import { sha256 } from "../../src/support/cache.ts";
import { mapConcurrently } from "../../src/support/run.ts";
import { chooseUnits, shuffledBy } from "./choose-units.ts";
import { type NearPatch, patchNear } from "./patch-near.ts";
import { type MutantRecord, runMutant } from "./run-mutant.ts";
import { type Mutation, mutationsOf } from "./text-mutations.ts";

export interface SourceMutants {
  /** Release of a stock kernel, or `newest`. */
  readonly kernel: string;
  readonly units: number;
  /** Mutants of each unit that compile. */
  readonly each: number;
  readonly seed: string;
  /** Mutants at once. */
  readonly jobs: number;
  /** A private folder, which is removed. */
  readonly scratch: string;
  readonly onRecord: (record: MutantRecord) => Promise<void>;
}

/** How many of a unit's mutants may fail to compile for each that does not. */
const patience = 4;

/** Makes mutants of units of a stock kernel until each has as many as asked for, and runs a build on each. */
export async function mutateSources(options: SourceMutants): Promise<void> {
  const { units, seed, jobs, scratch } = options;
  const kernel = await findTargetKernel({ kernel: options.kernel });
  const { program } = await compareCompiler(kernel.image.banner);
  const tree = await prepareTree(kernel, { compiler: program });
  await mkdir(scratch, { recursive: true });
  try {
    const chosen = await chooseUnits(tree, units, seed, join(scratch, "log"));
    let number = 0;
    await mapConcurrently(chosen, jobs, (command) =>
      mutateUnit(command, { kernel, tree, folder: join(scratch, `${number++}`) }, options),
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Place {
  readonly kernel: TargetKernel;
  readonly tree: PreparedTree;
  readonly folder: string;
}

async function mutateUnit(command: UnitCommand, place: Place, options: SourceMutants): Promise<void> {
  const { kernel, tree, folder } = place;
  const { source } = command;
  const text = await readFile(join(tree.path, source), "latin1");
  const object = await objectOf(command, tree, join(folder, "original"));
  if (object === undefined) return;
  let left = options.each;
  let tries = options.each * patience;
  for (const { mutation, patch } of pairsOf(text, source, options.seed)) {
    if (left === 0 || tries-- === 0) break;
    const record = await runMutant({ kernel, source, text, object, mutation, patch, folder: join(folder, "mutant") });
    if (record.outcome === "does not compile") continue;
    left--;
    await options.onRecord(record);
  }
  await rm(folder, { recursive: true, force: true });
}

/** Mutations with a patch near each, the kinds in turn, since constants alone are more than all others. */
function pairsOf(text: string, source: string, seed: string): { mutation: Mutation; patch: NearPatch }[] {
  const key = ({ line, before, after }: Mutation): string => sha256(seed, source, `${line} ${before} ${after}`);
  const kinds = new Map<Mutation["kind"], Mutation[]>();
  for (const mutation of shuffledBy(mutationsOf(text), key))
    kinds.set(mutation.kind, [...(kinds.get(mutation.kind) ?? []), mutation]);
  const lists = shuffledBy([...kinds], ([kind]) => sha256(seed, source, kind)).map(([, list]) => list);
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  return Array.from({ length: longest }, (_, round) => lists.flatMap((list) => list.slice(round, round + 1)))
    .flat()
    .flatMap((mutation) => {
      const patch = patchNear(mutation, Number.parseInt(key(mutation).slice(0, 6), 16));
      return patch === undefined ? [] : [{ mutation, patch }];
    });
}

/** The object of the kernel's own source; undefined for a unit that does not compile by its command alone. */
async function objectOf(command: UnitCommand, tree: PreparedTree, folder: string): Promise<Uint8Array | undefined> {
  try {
    createShadow(tree.path, folder, new Map(), foldersOf(command.object));
    await compileUnit(command, folder, { logFile: `${folder}.log` });
    return await readFile(join(folder, command.object));
  } catch {
    return undefined;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
