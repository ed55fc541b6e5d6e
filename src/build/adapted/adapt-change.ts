import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { adaptTypes, type ChangedType } from "../../adapt/adapt-types.ts";
import type { Adaptation } from "../../adapt/adaptation.ts";
import { UnitOracle } from "../../adapt/unit-oracle.ts";
import { type ChangedFile, type ChangeSet, changedFile } from "../../change/change-set.ts";
import { counted } from "../../support/counted.ts";
import { KmendError } from "../../support/errors.ts";
import { type Refusal, refuse } from "../../support/refusals.ts";
import { type Examination, examineChange, type Session } from "../examination.ts";
import { authorHeaders } from "../pairs/unit-pairs.ts";
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
  const { change, context } = session;
  const others: Refusal[] = [];
  const types: ChangedType[] = [];
  for (const refusal of refused.refusals) {
    const type = await changedTypeOf(refusal, session, types.length);
    if (type === undefined) others.push(refusal);
    else if ("code" in type) others.push(type);
    else types.push(type);
  }
  const adaptation = await context.progress.phase("adapt", "Rewrite what cannot be live", () =>
    adaptTypes(types, new Map(change.files.map(({ path, patched }) => [path, textOf(patched)]))),
  );
  const refusals = [...others, ...adaptation.refusals];
  if (refusals.length > 0) return refusals;
  const folder = join(context.folder, "adapted");
  await mkdir(folder, { recursive: true });
  const adapted = await changeOf(adaptation, change, types);
  const next = { ...session, change: adapted, context: { ...context, folder, foreseen: undefined } };
  const examination = await examineChange(next);
  if (examination.refusals.length > 0) return examination.refusals;
  return { session: next, examination, adaptation };
}

/** What {@link adaptChange} could try, for a person whose change was refused; none where it has no rewriting for any of the reasons. */
export function adaptHint(refusals: readonly Refusal[], change: ChangeSet): string[] {
  const types = refusals.filter((refusal) => structOf(refusal, change) !== undefined).map(({ what }) => what);
  if (types.length === 0) return [];
  const share =
    types.length === refusals.length
      ? types.length === 1
        ? "it"
        : "all of it"
      : `${types.length} of ${counted(refusals.length, "reason")}`;
  return [`kmend adapt (build --adapt) can try to rewrite ${share}: new members of ${types.join(", ")}`];
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

/** @returns undefined for what cannot be rewritten, a refusal when its units cannot be asked. */
async function changedTypeOf(
  refusal: Refusal,
  { change, context }: Session,
  index: number,
): Promise<ChangedType | Refusal | undefined> {
  const struct = structOf(refusal, change);
  const file = change.files.find(({ path }) => path === struct?.definition);
  if (struct === undefined || file === undefined) return undefined;
  const { tag, definition } = struct;
  const { tree, earlier, jobs, signal } = context;
  const folder = join(context.folder, `type-${index}`);
  await mkdir(folder, { recursive: true });
  try {
    const commands = await commandsOfUnits(definition, change, { ...context, folder });
    const base = new Map([...(await authorHeaders(tree.path)), ...earlier]);
    const oracle = new UnitOracle({ tree: tree.path, folder: join(folder, "units"), commands, base, jobs, signal });
    const objects = new Map(commands.map(({ source, module }) => [source, module ?? "vmlinux"]));
    return { tag, definition, original: textOf(file.original) ?? "", units: { oracle, objects } };
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
