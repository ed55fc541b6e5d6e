import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ChangeSet } from "../change/change-set.ts";
import { sameLines } from "../change/kept-lines.ts";
import { ownTextChanged } from "../change/own-text.ts";
import { mayChangeTypes } from "../change/type-change.ts";
import { refuseComparedCopies } from "../diff/lost-identity/compared-addresses.ts";
import { refuseExchanged } from "../diff/lost-identity/exchanged-names.ts";
import { refuseRenamedState } from "../diff/lost-identity/renamed-state.ts";
import { tableStructs } from "../diff/special-sections/special-sections.ts";
import { type CompilerComparison, compareWithComment } from "../kernel/compiler.ts";
import { entrySizesOf } from "../kernel/modules/entry-sizes.ts";
import { readSymvers } from "../kernel/modules/symvers.ts";
import { foldersLeftOut, includeGraph } from "../kernel/tree/include-graph.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { rethrowDiskErrors } from "../support/cache.ts";
import type { Progress } from "../support/progress.ts";
import { acceptPadding } from "./adapted/accept-padding.ts";
import { type AssemblyRequest, replacesAll } from "./assemble/assemble.ts";
import { KernelTypes } from "./check-layouts.ts";
import type { OpenedExternal } from "./external-module.ts";
import { checkDeclarations } from "./foreign-declarations.ts";
import { checkConstants, checkTypes, isFromElsewhere } from "./foreign-types.ts";
import { headersToFollow } from "./pairs/headers-to-follow.ts";
import { ReadAhead } from "./pairs/read-ahead.ts";
import { refusedByText } from "./pairs/refused-by-text.ts";
import { sortFiles } from "./pairs/sort-files.ts";
import { type CompiledUnits, compileUnits } from "./pairs/unit-pairs.ts";
import { refusePerCpuMisuse } from "./per-cpu-use.ts";
import type { Questions } from "./repro/questions.ts";
import { definesOthers, judgeDefinitions, newExportsOf, reasonsOfLoss } from "./resolve/global-definitions.ts";
import { refuseLost } from "./resolve/other-users.ts";
import {
  keptDefinitions,
  newGlobalsOf,
  type PlanFacts,
  planUnit,
  type ResolvedUnit,
  type ResolveFacts,
  refuseDoubleCallbacks,
  resolveUnit,
  type UnitPlan,
} from "./resolve/plan.ts";
import { acceptPrototypes, isOfPrototype } from "./resolve/replaced-callers.ts";
import { settleAmbiguous } from "./resolve/settle-ambiguous-symbols.ts";
import { TargetObjects } from "./resolve/target-objects.ts";
import { refuseSealed } from "./sealed-entries.ts";
import { patchesInForce } from "./stacked-updates.ts";

/** One build: what it was asked for, and where it works. */
export interface Session extends AssemblyRequest {
  readonly external: OpenedExternal | undefined;
  readonly compiler: CompilerComparison;
  readonly progress: Progress;
  readonly started: number;
  /** Asks what a repetition cannot find out again. */
  readonly questions: Questions;
  /** A run that is repeated makes no module. */
  readonly isRepeated?: boolean | undefined;
}

/** All that compiling, comparing and proving tells about a change. */
export interface Examination {
  readonly units: CompiledUnits;
  readonly plans: readonly UnitPlan[];
  readonly resolved: readonly ResolvedUnit[];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  readonly symvers: ResolveFacts["symvers"];
  readonly types: KernelTypes;
}

/** Refuses what the text of the change shows to be impossible; else compiles, compares and proves the touched units. */
export async function examineChange(session: Session): Promise<Examination> {
  return (await refusedUncompiled(session)) ?? (await examineAll(session));
}

async function examineAll(session: Session): Promise<Examination> {
  const followed = await session.questions.ask("headers", () => headersToFollow(session.change.files, session.context));
  return (await refusedEarly(followed, session)) ?? (await examine(followed, session));
}

/** @returns undefined unless the text of the change alone shows that it is impossible. */
async function refusedUncompiled({
  change,
  context,
  kernel,
  external,
  questions,
}: Session): Promise<Examination | undefined> {
  const refusals = await questions.ask("text", () => refusedByText(change.files, context));
  if (refusals.length === 0) return undefined;
  const units = { pairs: [], refusals, notes: [], notBuilt: [] };
  const notes = [...change.notes, "nothing was compiled, since the change is refused for what its text says"];
  const types = new KernelTypes(kernel, external);
  return { units, plans: [], resolved: [], refusals, notes, symvers: await readSymvers(kernel.symversPath), types };
}

/**
 * Looks at the touched source files alone when a header of the change may reach many more units: a new layout of a type is refused in seconds then, and
 * not after everything that includes the header has been compiled.
 * @returns undefined when nothing is known yet.
 */
async function refusedEarly(followed: readonly string[], session: Session): Promise<Examination | undefined> {
  const { context, change } = session;
  const { sources } = sortFiles(change.files);
  if (followed.length === 0 || sources.length === 0 || !mayChangeTypes(change.files)) return undefined;
  const { tree, kernelFolder, signal } = context;
  const reached = await session.questions.ask("reached", async () => {
    const graph = await includeGraph(tree.path, kernelFolder, foldersLeftOut(tree.environment), signal);
    return graph.unitsThatMaySee(followed).length;
  });
  if (reached < sources.length + manyUnits) return undefined;
  const folder = join(context.folder, "early");
  await mkdir(folder).catch(rethrowDiskErrors);
  const early = await examine([], { ...session, context: { ...context, folder } }, "early ");
  if (!early.refusals.some(({ code }) => code === "LAYOUT_CHANGED")) return undefined;
  const others = `${followed.join(", ")}: ${reached} source files may include it; they were not looked at, since the change is refused without them`;
  return { ...early, notes: [...early.notes, others] };
}

/** From how many further source files on a header is worth a look at the touched ones alone. */
const manyUnits = 12;

/**
 * @param followed changed headers whose units are looked at as well.
 * @param label tells the questions of two examinations apart.
 */
async function examine(followed: readonly string[], session: Session, label = ""): Promise<Examination> {
  const { progress, context, kernel, change, external, questions } = session;
  const objects = new TargetObjects(kernel, patchesInForce(session.options.earlier), external);
  questions.watch(objects);
  const entrySizes = await questions.ask(`${label}entry sizes`, () => entrySizesOf(kernel, tableStructs));
  const ahead = new ReadAhead(kernel, objects, context.prefetch, entrySizes, external?.symvers);
  const types = new KernelTypes(kernel, external);
  let isAboutTypes: boolean | undefined;
  const units = await questions.ask(`${label}units`, () =>
    compileUnits(change, followed, context, (all, known) => {
      ahead.start(all, known);
      session.template.begin();
      isAboutTypes = mayChangeTypes(change.files);
    }),
  );
  const notBuilt = units.notBuilt.map((path) => `${path} is not built for this kernel`);
  const compiledNotes = [...change.notes, ...units.notes, ...notBuilt];
  const symvers = await ahead.symvers();
  if (units.pairs.length === 0) {
    const { refusals } = units;
    return { units, plans: [], resolved: [], refusals, notes: compiledNotes, symvers, types };
  }
  // With earlier updates both objects have lines of their own.
  const isSameLine = context.earlier.size === 0 ? sameLines(change.files) : undefined;
  const calls = { throughKernel: !replacesAll(session.options) };
  const [planned, compared] = await Promise.all([
    progress.phase("diff", "Compare and prove", () =>
      planUnits(units, change.files, objects, ahead, { entrySizes, isSameLine, calls }),
    ),
    checkTypes(units.pairs, { ...session, types, isAboutTypes: isAboutTypes ?? mayChangeTypes(change.files) }),
  ]);
  const isPadded = (compared.filled?.size ?? 0) > 0;
  const padded = isPadded
    ? await questions.ask(`${label}padding`, () => acceptPadding(compared, change, context))
    : compared;
  const definitions = judgeDefinitions(planned);
  const { plans } = definitions;
  const changedFiles = change.files.map(({ path }) => path);
  const goneForOthers = await questions.ask(`${label}lost`, () =>
    refuseLost(definitions.lost, units.pairs, changedFiles, symvers, context),
  );
  const newGlobals = new Map(
    plans.flatMap((plan) => newGlobalsOf(plan).map((symbol) => [symbol, plan.pair.object] as const)),
  );
  const known: ResolveFacts = {
    ...{ symvers, newGlobals, settled: new Map(), compiler: compilerOf(session) },
    ...{ newExports: newExportsOf(plans), lost: reasonsOfLoss(definitions.lost) },
  };
  const facts: ResolveFacts = { ...known, defined: keptDefinitions(plans, known) };
  const changed = plans.filter(({ selection }) => selection.atoms.length > 0);
  let resolved = changed.map((plan) => resolveUnit(plan, facts));
  const ambiguous = resolved.flatMap((unit) => unit.ambiguous);
  if (ambiguous.length > 0) {
    const entries = await progress.phase("settle", "Look into the units that define ambiguous symbols", () =>
      questions.ask(`${label}ambiguous`, async () => [
        ...(await settleAmbiguous(ambiguous, context, (object) => objects.open(object))),
      ]),
    );
    const settled = new Map(entries);
    if (settled.size > 0) resolved = changed.map((plan) => resolveUnit(plan, { ...facts, settled }));
  }
  const isStacked = (session.options.earlier?.modules.length ?? 0) > 0;
  const callers = { plans, resolved, symvers, types, isStacked };
  const layouts = padded.refusals.some(isOfPrototype)
    ? await questions.ask(`${label}prototypes`, () => acceptPrototypes(padded, callers))
    : padded;
  const constants = checkConstants(session);
  const declarations = isFromElsewhere(session)
    ? await checkDeclarations(resolved, {
        types,
        open: (object) => objects.open(object),
        allowed: session.options.allowLayout ?? [],
      })
    : { refusals: [], notes: [] };
  const refusals = unique([
    ...units.refusals,
    ...plans.flatMap(({ changes, selection }) => [...changes.refusals, ...selection.refusals]),
    ...definitions.refusals,
    ...goneForOthers,
    ...refuseDoubleCallbacks(plans),
    ...resolved.flatMap((unit) => unit.refusals),
    ...declarations.refusals,
    ...changed.flatMap((plan) => [
      ...refuseRenamedState(plan),
      ...refuseExchanged(plan),
      ...refuseComparedCopies(plan),
    ]),
    ...(await refusePerCpuMisuse(resolved, (object) => objects.open(object))),
    ...(await refuseSealed(resolved, (object) => objects.open(object))),
    // Without code that knows it, a new layout is in nobody's way.
    ...(changed.length > 0 ? [...layouts.refusals, ...constants.refusals] : []),
  ]);
  const notes = [
    ...compiledNotes,
    ...layouts.notes,
    ...constants.notes,
    ...declarations.notes,
    ...plans.flatMap(({ changes }) => changes.notes),
    ...resolved.flatMap((unit) => unit.notes),
  ];
  return { units, plans, resolved, refusals, notes, symvers, types };
}

/** The compiler here against that of what is patched. */
function compilerOf({ compiler, external }: Session): CompilerComparison {
  return external?.compiler === undefined ? compiler : compareWithComment(compiler, external.compiler);
}

/** Diffs and matches all units. */
async function planUnits(
  units: CompiledUnits,
  files: ChangeSet["files"],
  objects: TargetObjects,
  ahead: ReadAhead,
  facts: Omit<PlanFacts, "isTextChanged">,
): Promise<UnitPlan[]> {
  const plans: UnitPlan[] = [];
  for (const pair of units.pairs) {
    const target = await objects.open(pair.object);
    const isTextChanged = ownTextChanged(files, pair.source);
    const plan = await planUnit(pair, target, await ahead.original(pair), { ...facts, isTextChanged });
    // A header reaches many units and changes few of them: the others are not kept in memory.
    if (hasFindings(plan)) plans.push(plan);
  }
  return plans;
}

function hasFindings({ changes, selection, definitions }: UnitPlan): boolean {
  return (
    definesOthers(definitions) ||
    selection.atoms.length +
      changes.functions.size +
      changes.refusals.length +
      selection.refusals.length +
      changes.notes.length >
      0
  );
}

function unique(refusals: readonly Refusal[]): Refusal[] {
  return [
    ...new Map(refusals.map((refusal) => [`${refusal.code} ${refusal.what} ${refusal.where}`, refusal])).values(),
  ];
}
