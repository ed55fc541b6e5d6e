import { readFile } from "node:fs/promises";
import { messageOf } from "../support/errors.ts";
import { adaptChange, adaptHint } from "./adapted/adapt-change.ts";
import { adaptedPatchText, assumptionText } from "./adapted/adapted-patch.ts";
import { assemble } from "./assemble/assemble.ts";
import type { BuildFacts, BuildRequest } from "./build-facts.ts";
import { resultOf } from "./build-result.ts";
import type { AdaptedParts, BuildResult } from "./build-types.ts";
import { explainUnproven, type KernelTypes, requireKernelTypes } from "./check-layouts.ts";
import { type Examination, examineChange, type Session } from "./examination.ts";
import { isFromElsewhere } from "./foreign-types.ts";
import { removeShadows } from "./pairs/build-shadows.ts";
import type { CompiledUnits } from "./pairs/unit-pairs.ts";
import { RecordedQuestions } from "./repro/questions.ts";
import { requireReproFolder, saveBuildRepro } from "./repro/save-repro.ts";
import { describeFunctions } from "./resolve/describe-functions.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import { withSession } from "./session.ts";
import { keptAddresses } from "./warnings/address-kept.ts";
import type { Warning } from "./warnings/find-warnings.ts";

/**
 * Builds a patch module from source patches: apply, compile the touched units without and with the patch, diff, match against the kernel's image, link,
 * check, write. The user's files and the prepared tree are never changed, and the module is written only when everything about it is proven.
 * @returns outcome `built`, `unchanged` (nothing that this kernel runs changes) or `refused` (with all reasons).
 * @throws KmendError for everything that keeps it from finding out: a patch that does not apply, a missing kernel, a compiler error.
 */
export async function build(options: BuildRequest): Promise<BuildResult> {
  const { saveRepro, onFacts } = options;
  if (saveRepro === undefined) return withSession(options, (session) => buildOf(session, onFacts));
  await requireReproFolder(saveRepro);
  return withSession(options, (session) => buildAndSave(session, saveRepro, onFacts));
}

/** @param folder that gets what the build read, also when it ends with an error. */
async function buildAndSave(asked: Session, folder: string, onFacts: BuildRequest["onFacts"]): Promise<BuildResult> {
  const questions = new RecordedQuestions();
  const { external } = asked;
  const recorded = external && { ...external, symvers: questions.symbols(external.symvers) };
  const session = { ...asked, questions, external: recorded };
  let result: BuildResult;
  try {
    result = await buildOf(session, onFacts);
  } catch (error) {
    // What the build ended with is told in any case.
    if (!asked.context.signal?.aborted)
      await saveBuildRepro(folder, session, questions, { error }).catch((problem: unknown) =>
        asked.progress.note(`${folder} is not complete: ${messageOf(problem)}`),
      );
    throw error;
  }
  await saveBuildRepro(folder, session, questions, { result });
  return result;
}

/** A build whose patch has been applied: examines the change, and makes the module. @param onFacts see {@link BuildRequest}. */
export async function buildOf(asked: Session, onFacts?: BuildRequest["onFacts"]): Promise<BuildResult> {
  const facts = await buildChange(asked);
  await onFacts?.(facts);
  return facts.result;
}

async function buildChange(asked: Session): Promise<BuildFacts> {
  const refused = await examineChange(asked);
  const isRewritten = asked.options.adapt === true && refused.refusals.length > 0;
  const rewritten = isRewritten ? await adaptChange(asked, refused) : [];
  if (!("adaptation" in rewritten)) {
    const refusals = isRewritten ? rewritten : refused.refusals;
    const notes = isRewritten ? refused.notes : [...refused.notes, ...adaptHint(refusals, asked.change)];
    return buildExamined(asked, { ...refused, refusals, notes });
  }
  const { adaptation, examination, session } = rewritten;
  const root = session.context.tree.environment.external;
  const patch = adaptedPatchText(session.change, adaptation.assumptions, root).toString("latin1");
  const adapted = { patch, assumptions: adaptation.assumptions.map(assumptionText) };
  return buildExamined({ ...session, adapted }, examination, adaptation);
}

async function buildExamined(
  session: Session,
  examination: Examination,
  adaptation?: AdaptedParts,
): Promise<BuildFacts> {
  return { session, examination, result: await finish(session, examination, adaptation) };
}

async function finish(session: Session, examination: Examination, adaptation?: AdaptedParts): Promise<BuildResult> {
  const { context } = session;
  const { units, plans, resolved, refusals, notes, symvers } = examination;
  await tellObjects(session, units);
  if (units.pairs.length === 0) {
    return resultOf(session, refusals.length > 0 ? "refused" : "unchanged", { units, notes, refusals });
  }
  const functions = describeFunctions(plans, resolved);
  if (refusals.length > 0) {
    const explained = await explainUnproven(refusals, units.pairs, examination.types, context);
    return resultOf(session, "refused", { units, notes, refusals: explained, functions, resolved });
  }
  if (resolved.every(({ redirections, plan }) => redirections.length + plan.changes.callbacks.length === 0)) {
    return resultOf(session, "unchanged", { units, notes, functions: [] });
  }
  // With earlier updates the source is not the kernel's.
  if (isFromElsewhere(session) && (session.options.earlier?.modules.length ?? 0) === 0) {
    const changed = resolved.map(({ plan }) => plan.pair);
    await requireKernelTypes(changed, examination.types, session.kernel.release, context);
  }
  if (session.isRepeated === true) {
    const kept = await addressesKept(session, resolved, examination.types);
    return resultOf(session, "built", { units, notes, functions, resolved, kept });
  }
  // Nobody but a repro looks into the shadows any more, and the linker leaves time to remove their thousands of links.
  const emptied = session.options.saveRepro === undefined ? removeShadows(context.folder) : undefined;
  const kept = await addressesKept(session, resolved, examination.types);
  const request = { ...session, keptAddresses: kept };
  const [module] = await Promise.all([assemble(request, resolved, symvers), emptied]);
  const adapted = adaptation && { parts: adaptation.parts, assumptions: adaptation.assumptions };
  return resultOf(session, "built", { units, notes, functions, resolved, module, kept, adapted });
}

/** Warnings of addresses that may outlive the module. */
async function addressesKept(
  { kernel }: Session,
  resolved: readonly ResolvedUnit[],
  types: KernelTypes,
): Promise<Warning[]> {
  const objects = new Set(resolved.map(({ plan }) => plan.pair.object));
  const known = new Map(await Promise.all([...objects].map(async (name) => [name, await types.of(name)] as const)));
  return keptAddresses(resolved, {
    hasLockdep: kernel.image.kallsyms().indicesOf("lock_acquire").length > 0,
    typesOf: (object) => known.get(object),
  });
}

async function tellObjects({ options }: Session, { pairs }: CompiledUnits): Promise<void> {
  if (options.onObjects === undefined) return;
  for (const { source: unit, object, originalPath, patchedPath } of pairs) {
    const patched = { kind: "patched", unit, object, content: await readFile(patchedPath) } as const;
    if (originalPath === undefined) options.onObjects([patched]);
    else options.onObjects([{ kind: "original", unit, object, content: await readFile(originalPath) }, patched]);
  }
}
