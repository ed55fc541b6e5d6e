import { join } from "node:path";
import { adaptTypes, type ChangedType } from "../../adapt/adapt-types.ts";
import type { Adaptation } from "../../adapt/adaptation.ts";
import { refuseObstacle } from "../../adapt/soundness.ts";
import { UnitOracle } from "../../adapt/unit-oracle.ts";
import { type ChangedFile, type ChangeSet, changedFile } from "../../change/change-set.ts";
import { printedTraceEvents } from "../../change/trace-events.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { counted } from "../../support/counted.ts";
import { KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { type Examination, examineChange, type Session } from "../examination.ts";
import { authorHeaders } from "../pairs/unit-pairs.ts";
import { adaptData, isAboutLiveData } from "./adapt-data.ts";
import { commandsOfUnits, definitionOf } from "./type-units.ts";

/** A patch that was rewritten, and what the guard says of it. */
export interface AdaptedChange {
  readonly session: Session;
  readonly examination: Examination;
  readonly adaptation: Adaptation;
}

/**
 * Rewrites what the guard refused of a change, and shows the result to the guard again: it is accepted only if nothing is refused any more.
 * @returns the reasons when a part cannot be rewritten; then nothing is.
 */
export async function adaptChange(session: Session, refused: Examination): Promise<AdaptedChange | readonly Refusal[]> {
  let state: AdaptedChange = { session, examination: refused, adaptation: nothingAdapted };
  for (const step of [withoutTraceEvents, withLiveData, adaptLayouts]) {
    const next = await step(state.session, state.examination);
    if (next === undefined) continue;
    if (!("adaptation" in next)) return next;
    const [first, second] = [state.adaptation, next.adaptation];
    const parts = [...first.parts, ...second.parts];
    const assumptions = [...first.assumptions, ...second.assumptions];
    state = { ...next, adaptation: { ...second, parts, assumptions } };
    if (state.examination.refusals.length === 0) return state;
  }
  return state.examination.refusals;
}

const nothingAdapted: Adaptation = { files: new Map(), parts: [], assumptions: [], refusals: [] };

/**
 * Leaves trace events as the kernel has them: what a tracer is told has no effect on what the code does.
 * @returns undefined where the patch changes none, a refusal where the patched code does not fit the old ones.
 */
async function withoutTraceEvents(session: Session): Promise<AdaptedChange | readonly Refusal[] | undefined> {
  const { change, context } = session;
  const found = change.files.flatMap((file) => {
    const events = printedTraceEvents(file);
    return events === undefined ? [] : [{ path: file.path, events }];
  });
  const dropped = new Set(found.map(({ path }) => path));
  const files = change.files.filter(({ path }) => !dropped.has(path));
  // What is left out may be the fix: a module must not say that it has it.
  const isClaimed = (session.options.cves ?? []).length > 0;
  if (found.length === 0 || files.length === 0 || isClaimed) return undefined;
  const folder = join(context.folder, "untraced");
  await makeFolder(folder);
  const next = { ...session, change: { ...change, files }, context: { ...context, folder, foreseen: undefined } };
  const named = found.flatMap(({ path, events }) => events.map((event) => ({ path, event })));
  try {
    const examination = await examineChange(next);
    const parts = named.map(({ event }) => ({ what: `trace event ${event}`, how: "stays as the kernel has it" }));
    const assumptions = named.map(({ path, event }) => ({
      ...{ what: `trace event ${event}`, file: path, line: 0 },
      text: "tracers print it as before the patch; what is recorded does not change",
    }));
    return { session: next, examination, adaptation: { files: new Map(), parts, assumptions, refusals: [] } };
  } catch (error) {
    if (!(error instanceof KmendError) || error.code !== "COMPILE_FAILED") throw error;
    return named.map(({ path, event }) => {
      const values = { event, message: error.why ?? error.message };
      return refuseObstacle(`trace event ${event}`, { rule: "TRACE_EVENT", file: path, line: 0, function: "", values });
    });
  }
}

/**
 * Has callbacks write the new initial values of live data.
 * @returns undefined where nothing is refused for such, or something for which there is no rewriting.
 */
async function withLiveData(
  session: Session,
  { refusals, plans }: Examination,
): Promise<AdaptedChange | readonly Refusal[] | undefined> {
  const { change, context } = session;
  const about = refusals.filter(isAboutLiveData);
  const isHopeless = refusals.some((refusal) => !isAboutLiveData(refusal) && structOf(refusal, change) === undefined);
  if (about.length === 0 || isHopeless) return undefined;
  const adapted = adaptData(change, plans, about);
  if (!("adaptation" in adapted)) return adapted;
  const folder = join(context.folder, "live-data");
  await makeFolder(folder);
  const next = { ...session, change: adapted.change, context: { ...context, folder, foreseen: undefined } };
  try {
    const examination = await examineChange(next);
    const left = examination.refusals.filter((refusal) => structOf(refusal, change) === undefined);
    return left.length > 0 ? left : { session: next, examination, adaptation: adapted.adaptation };
  } catch (error) {
    if (!(error instanceof KmendError) || error.code !== "COMPILE_FAILED") throw error;
    const message = error.why ?? error.message;
    const gone = /['‘](\w+)['’] undeclared/.exec(message)?.[1];
    const place = { file: error.where ?? "", line: 0, function: "" };
    return about.map(({ what }) =>
      gone === undefined
        ? refuseObstacle(what, { rule: "UNCLEAR", ...place, values: { message } })
        : refuseObstacle(what, { rule: "GONE_VALUE", ...place, values: { what: gone } }),
    );
  }
}

/** Rewrites changed data structures. */
async function adaptLayouts(session: Session, refused: Examination): Promise<AdaptedChange | readonly Refusal[]> {
  const { change, context } = session;
  // Who sees a type is found out in minutes where many units do: not for a change that stays refused for something else.
  if (refused.refusals.some((refusal) => structOf(refusal, change) === undefined)) return refused.refusals;
  const others: Refusal[] = [];
  const types: ChangedType[] = [];
  const seers = new UnitsOfTypes(session);
  for (const refusal of refused.refusals) {
    const type = await changedTypeOf(refusal, session, seers);
    if ("code" in type) others.push(type);
    else types.push(type);
  }
  const adaptation = await context.progress.phase("adapt", "Rewrite what cannot be live", () =>
    adaptTypes(types, new Map(change.files.map(({ path, patched }) => [path, textOf(patched)]))),
  );
  const refusals = [...others, ...adaptation.refusals];
  if (refusals.length > 0) return refusals;
  const folder = join(context.folder, "adapted");
  await makeFolder(folder);
  const adapted = await changeOf(adaptation, change, types);
  const next = { ...session, change: adapted, context: { ...context, folder, foreseen: undefined } };
  const examination = await examineChange(next);
  if (examination.refusals.length > 0) return examination.refusals;
  return { session: next, examination, adaptation };
}

/** What {@link adaptChange} could try, for a person whose change was refused; none where it has no rewriting for any of the reasons. */
export function adaptHint(refusals: readonly Refusal[], change: ChangeSet): string[] {
  const types = refusals.filter((refusal) => structOf(refusal, change) !== undefined).map(({ what }) => what);
  const events = refusals.filter(({ code }) => code === "TRACE_EVENT").map(({ what }) => what);
  const data = refusals.filter(isAboutLiveData).map(({ what }) => what);
  const count = types.length + events.length + data.length;
  if (count === 0) return [];
  const all = count === 1 ? "it" : "all of it";
  const share = count === refusals.length ? all : `${count} of ${counted(refusals.length, "reason")}`;
  const parts = [
    ...(types.length === 0 ? [] : [`members of ${types.join(", ")}`]),
    ...(data.length === 0 ? [] : [`values of ${data.join(", ")}`]),
    ...(events.length === 0 ? [] : [`trace events ${events.join(", ")} stay as they are`]),
  ];
  return [`kmend adapt (build --adapt) can try to rewrite ${share}: ${parts.join("; ")}`];
}

/** The struct that a refusal is about, where a changed file defines it. */
function structOf(
  { code, what }: Refusal,
  change: ChangeSet,
): { readonly tag: string; readonly definition: string } | undefined {
  const tag = code === "LAYOUT_CHANGED" ? /^struct (\w+)$/.exec(what)?.[1] : undefined;
  const definition = tag === undefined ? undefined : definitionOf(tag, change);
  return tag === undefined || definition === undefined ? undefined : { tag, definition };
}

/** The units that see types, by the file that defines them: those of one file are asked for once. */
class UnitsOfTypes {
  readonly #session: Session;
  readonly #known = new Map<string, Promise<ChangedType["units"]>>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** @throws KmendError those of {@link commandsOfUnits}. */
  of(definition: string): Promise<ChangedType["units"]> {
    const known = this.#known.get(definition);
    if (known !== undefined) return known;
    const units = this.#find(definition, this.#known.size);
    this.#known.set(definition, units);
    return units;
  }

  async #find(definition: string, index: number): Promise<ChangedType["units"]> {
    const { change, context } = this.#session;
    const { tree, earlier, jobs, signal } = context;
    const folder = join(context.folder, `type-${index}`);
    await makeFolder(folder);
    const commands = await commandsOfUnits(definition, change, { ...context, folder });
    const base = new Map([...(await authorHeaders(tree.path)), ...earlier]);
    const oracle = new UnitOracle({ tree: tree.path, folder: join(folder, "units"), commands, base, jobs, signal });
    const objects = new Map(commands.map(({ source, module }) => [source, module ?? "vmlinux"]));
    return { oracle, objects };
  }
}

/** @returns a refusal when the units of the type cannot be asked. */
async function changedTypeOf(
  refusal: Refusal,
  { change }: Session,
  seers: UnitsOfTypes,
): Promise<ChangedType | Refusal> {
  const { tag, definition } = structOf(refusal, change) ?? { tag: "", definition: "" };
  const file = change.files.find(({ path }) => path === definition);
  try {
    const units = await seers.of(definition);
    return { tag, definition, original: textOf(file?.original ?? null) ?? "", units };
  } catch (error) {
    if (!(error instanceof KmendError)) throw error;
    const values = { rule: error.code, problem: error.message, advice: error.hint ?? "write this part by hand" };
    return refuse("NOT_ADAPTABLE", refusal.what, definition, values);
  }
}

async function changeOf({ files }: Adaptation, change: ChangeSet, types: readonly ChangedType[]): Promise<ChangeSet> {
  const known = new Map(change.files.map((file) => [file.path, file]));
  const changed: ChangedFile[] = [];
  for (const [path, text] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const before = known.has(path) ? (known.get(path)?.original ?? null) : await readThrough(path, types);
    changed.push(...changedFile(path, before, text === null ? null : Buffer.from(text, "latin1")));
  }
  return { ...change, files: changed };
}

/** A file that the patch left alone: as those read it who asked the compiler. */
async function readThrough(path: string, types: readonly ChangedType[]): Promise<Uint8Array | null> {
  for (const { units } of types) {
    const text = await units.oracle.read(path);
    if (text !== undefined) return Buffer.from(text, "latin1");
  }
  return null;
}

function textOf(content: Uint8Array | null): string | null {
  return content === null ? null : Buffer.from(content).toString("latin1");
}
