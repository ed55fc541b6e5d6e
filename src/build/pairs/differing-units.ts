import { readFile, realpath } from "node:fs/promises";
import { basename, join, normalize } from "node:path";
import type { SourceOverlay } from "../../change/change-set.ts";
import { plainEnvironment, runKbuild } from "../../kernel/tree/kbuild.ts";
import { createShadow, foldersOf } from "../../kernel/tree/shadow.ts";
import { dependencyCommand, preprocessedPath, type UnitCommand, unitCommands } from "../../kernel/tree/unit-command.ts";
import { counted } from "../../support/counted.ts";
import { mapConcurrently, run } from "../../support/run.ts";
import type { BuildContext } from "../build-context.ts";
import type { AffectedUnit, BuiltUnit } from "./affected-unit.ts";

/** Changed files that units include. */
export interface IncludedChange {
  /** Paths relative to the tree. */
  readonly paths: readonly string[];
  /** Those of them whose difference every reader sees. */
  readonly plain: ReadonlySet<string>;
  /** Content of all changed files. */
  readonly files: SourceOverlay;
}

/**
 * Those units that see a difference. Asking the compiler which files a unit reads takes an eighth of the time of compiling it; the whole preprocessed text
 * takes a third, twice, and is compared only where it depends on macros or conditions whether there is a difference.
 */
export async function unitsWithDifference(
  units: readonly BuiltUnit[],
  change: IncludedChange,
  context: BuildContext,
): Promise<AffectedUnit[]> {
  const { tree, folder, progress } = context;
  const patched = join(folder, "text-patched");
  createShadow(tree.path, patched, change.files, foldersOfAll(units));
  const title = `Ask the compiler what ${counted(units.length, "unit")} ${units.length === 1 ? "reads" : "read"}`;
  const asked = await progress.phase("read", title, async (status) => {
    const commands = await commandsOf(units, context);
    let done = 0;
    return mapConcurrently(units, context.jobs, async (unit, index): Promise<Asked> => {
      const command = commands[index] as UnitCommand | undefined;
      const seen = await readingOf(command, patched, change, context);
      status(`${++done} of ${units.length}`);
      return { unit: { ...unit, command }, seen };
    });
  });
  const open = asked.filter(({ seen }) => seen === "perhaps").map(({ unit }) => unit);
  const different = new Set(open.length === 0 ? [] : await withDifferentText(open, patched, context));
  return asked.filter(({ unit, seen }) => seen === "yes" || different.has(unit)).map(({ unit }) => unit);
}

interface Asked {
  readonly unit: AffectedUnit;
  readonly seen: "yes" | "no" | "perhaps";
}

/** Recorded commands where a unit was compiled before, else Kbuild's words; undefined where neither tells. */
async function commandsOf(units: readonly BuiltUnit[], context: BuildContext): Promise<(UnitCommand | undefined)[]> {
  const known = await Promise.all(units.map(({ source }) => context.cache.command(source)));
  const unknown = units.flatMap(({ source, member }, index) =>
    known[index] === undefined ? [{ source, object: member.object }] : [],
  );
  // A unit that Kbuild cannot make is told of when it is to be compiled.
  const told = await unitCommands(context.tree, context.tree.path, unknown, context).catch(() => []);
  const bySource = new Map(told.map((command) => [command.source, command]));
  return units.map(({ source }, index) => known[index] ?? bySource.get(source));
}

async function readingOf(
  command: UnitCommand | undefined,
  shadow: string,
  { paths, plain }: IncludedChange,
  { tree, signal }: BuildContext,
): Promise<Asked["seen"]> {
  const question = command === undefined || command.needsKbuild === true ? undefined : dependencyCommand(command);
  if (question === undefined) return "perhaps";
  const { exitCode, stdout } = await run("sh", ["-c", question], {
    ...{ cwd: shadow, env: plainEnvironment(), cleanEnv: true, signal, allowFailure: true },
  });
  signal?.throwIfAborted();
  if (exitCode !== 0) return "perhaps";
  const read = new Set(stdout.split(/[\s\\]+/).map((path) => normalize(path)));
  const seen = paths.filter((path) => read.has(path));
  if (seen.length > 0) return seen.some((path) => plain.has(path)) ? "yes" : "perhaps";
  const places = paths.flatMap((path) => [join(shadow, path), join(tree.path, path)]);
  return (await leadTo(read, shadow, places)) ? "perhaps" : "no";
}

/** True when one of the paths means one of the places under another name, by way of a symbolic link. */
async function leadTo(paths: ReadonlySet<string>, folder: string, places: readonly string[]): Promise<boolean> {
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  const names = new Set(places.map((place) => basename(place)));
  const suspicious = [...paths].filter((path) => names.has(basename(path)));
  const wanted = new Set(suspicious.length === 0 ? [] : await Promise.all(places.map(real)));
  return (await Promise.all(suspicious.map((path) => real(join(folder, path))))).some((path) => wanted.has(path));
}

/** Those units whose preprocessed text differs between the two states of the sources. */
async function withDifferentText(
  units: readonly AffectedUnit[],
  patched: string,
  context: BuildContext,
): Promise<AffectedUnit[]> {
  const { tree, folder, progress } = context;
  const original = join(folder, "text-original");
  createShadow(tree.path, original, new Map(), foldersOfAll(units));
  await progress.phase("preprocess", `Preprocess ${counted(units.length, "unit")} twice`, async () => {
    await preprocess(original, units, context);
    await preprocess(patched, units, context);
  });
  const affected: AffectedUnit[] = [];
  for (const unit of units) {
    const path = preprocessedPath(unit.member.object);
    const [old, fresh] = await Promise.all([textOf(join(original, path)), textOf(join(patched, path))]);
    // A unit that does not preprocess is left to the compiler, whose words say more.
    if (old === undefined || fresh === undefined || old !== fresh) affected.push(unit);
  }
  return affected;
}

async function preprocess(shadow: string, units: readonly AffectedUnit[], context: BuildContext): Promise<void> {
  await runKbuild(
    context.tree.environment,
    shadow,
    units.map(({ member }) => preprocessedPath(member.object)),
    { jobs: context.jobs, keepGoing: true, logFile: context.logFile, signal: context.signal, allowFailure: true },
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

function foldersOfAll(units: readonly BuiltUnit[]): string[] {
  return units.flatMap(({ member }) => foldersOf(member.object));
}
