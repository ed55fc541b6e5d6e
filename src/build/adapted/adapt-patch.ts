import { dirname, resolve } from "node:path";
import type { Refusal } from "../../refusals/refusals.ts";
import { sha256 } from "../../support/cache.ts";
import { requireOutputFile, writeOutputFile } from "../../support/output-folder.ts";
import type { AdaptedParts, BuildOptions } from "../build-types.ts";
import { type Examination, examineChange, type Session } from "../examination.ts";
import { withSession } from "../session.ts";
import { adaptChange } from "./adapt-change.ts";
import { adaptedPatchText } from "./adapted-patch.ts";

/** What `kmend adapt` is asked to do: options of a build, and where the adapted patch goes. */
export interface AdaptOptions extends Omit<BuildOptions, "output" | "adapt"> {
  /** File that gets the adapted patch. */
  readonly file: string;
}

/** The stable `--json` of `kmend adapt`. */
export interface AdaptResult {
  readonly schema: 1;
  /** `unchanged`: the patch can be live as it is. */
  readonly outcome: "adapted" | "unchanged" | "refused";
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly patch: { readonly path: string; readonly sha256: string; readonly bytes: number } | null;
  readonly parts: AdaptedParts["parts"];
  readonly assumptions: AdaptedParts["assumptions"];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  readonly milliseconds: Readonly<Record<string, number>>;
}

/**
 * Rewrites a patch that a build refuses for its data into one that has the same effect, and that a build accepts.
 * @returns outcome `refused` with all reasons when a part cannot be rewritten soundly; then nothing is written.
 * @throws KmendError for everything that keeps it from finding out, those of {@link requireOutputFile} among it.
 */
export async function adaptPatch(options: AdaptOptions): Promise<AdaptResult> {
  const path = await requireOutputFile(resolve(options.file), options.patches);
  return withSession({ ...options, output: dirname(path) }, async (session) => {
    const refused = await examineChange(session);
    if (refused.refusals.length === 0) return resultOf(session, refused, { outcome: "unchanged" });
    const rewritten = await adaptChange(session, refused);
    if (!("adaptation" in rewritten)) return resultOf(session, refused, { outcome: "refused", refusals: rewritten });
    const { adaptation, examination } = rewritten;
    const { parts, assumptions } = adaptation;
    const text = adaptedPatchText(rewritten.session.change, assumptions, session.context.tree.environment.external);
    await writeOutputFile(path, text, options.patches);
    const patch = { path, sha256: sha256(text), bytes: text.length };
    return resultOf(session, examination, { outcome: "adapted", patch, parts, assumptions });
  });
}

function resultOf(
  { kernel, progress, started }: Session,
  { notes }: Pick<Examination, "notes">,
  rest: Partial<AdaptResult> & Pick<AdaptResult, "outcome">,
): AdaptResult {
  return {
    schema: 1,
    kernel: { release: kernel.release, buildId: kernel.buildId },
    ...{ patch: null, parts: [], assumptions: [], refusals: [], notes },
    ...rest,
    milliseconds: { total: Math.round(performance.now() - started), ...progress.milliseconds },
  };
}
