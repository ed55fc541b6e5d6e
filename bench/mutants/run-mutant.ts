import { mkdir, rm } from "node:fs/promises";
import { build } from "../../src/build/build.ts";
import type { BuildResult, KeptObject } from "../../src/build/build-types.ts";
import { changedFile } from "../../src/change/change-set.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { sourceTree } from "../../src/kernel/tree-kernel.ts";
import { sha256 } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { objectDifference, reachedSections } from "./object-difference.ts";
import type { NearPatch } from "./patch-near.ts";
import type { Mutation } from "./text-mutations.ts";

/** How a build ended whose original is not the kernel's source. */
export type MutantOutcome =
  /** The mutation or the patch is no C. */
  | "does not compile"
  /** The mutated unit is the same as the kernel's. */
  | "equal"
  /** The patch changes nothing of the mutated unit. */
  | "unchanged"
  /** The proof found it. */
  | "unproven"
  /** Refused for another reason, so nothing is learnt of the proof. */
  | "refused"
  /** Built, and what differs is out of the reach of the carried code. */
  | "elsewhere"
  /** Built, and what the carried code is or reaches differs from the kernel: a wrong module. */
  | "survivor"
  /** Neither built nor refused. */
  | "failed";

/** One mutant, for a person who looks at it by hand. */
export interface MutantRecord {
  readonly source: string;
  readonly release: string;
  readonly kind: Mutation["kind"];
  readonly home: string;
  readonly line: number;
  readonly before: string;
  readonly after: string;
  readonly patched: string;
  readonly outcome: MutantOutcome;
  /** Codes of refusals, the error, or the sections that differ within reach. */
  readonly detail: string;
}

export interface MutantRun {
  readonly kernel: TargetKernel;
  readonly source: string;
  /** Content of the unit's source as the kernel was built from it, and the object that it makes. */
  readonly text: string;
  readonly object: Uint8Array;
  readonly mutation: Mutation;
  readonly patch: NearPatch;
  /** A private folder. */
  readonly folder: string;
}

/** Refusals by which the proof says that source and kernel differ. */
const ofProof = /^(UNPROVEN|IMAGE_OF_OTHER_CONFIG|AMBIGUOUS|MISSING_SYMBOL|LAYOUT_OF_OTHER|TYPES_)/;

/** Seconds that one build may take. */
const timeoutSeconds = 300;

/**
 * Builds a patch on top of a mutated source, which is given out as the kernel's own. The mutation stands in for a user's tree that is nearly the one that the
 * kernel was built from.
 */
export async function runMutant(run: MutantRun): Promise<MutantRecord> {
  const { kernel, source, mutation, patch, folder } = run;
  const { kind, home, line, before, after } = mutation;
  const common = { source, release: kernel.release, kind, home, line, before, after, patched: patch.patched };
  await mkdir(folder, { recursive: true });
  const kept: KeptObject[] = [];
  try {
    const result = await build({
      patches: [],
      target: { ...kernel, distribution: sourceTree },
      output: folder,
      name: "mutant",
      jobs: 1,
      earlier: { files: new Map([[source, bytes(mutation.text)]]), modules: [] },
      change: async () => ({
        files: changedFile(source, bytes(mutation.text), bytes(patch.text)),
        patches: [{ name: "mutant.patch", sha256: sha256(patch.text) }],
        notes: [],
      }),
      onObjects: (objects) => void kept.push(...objects),
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    });
    return { ...common, ...(await judge(result, kept, run)) };
  } catch (error) {
    if (error instanceof KmendError && error.code === "COMPILE_FAILED")
      return { ...common, outcome: "does not compile", detail: "" };
    if (error instanceof KmendError && ofProof.test(error.code))
      return { ...common, outcome: "unproven", detail: error.code };
    const detail = error instanceof KmendError ? `${error.code} ${error.message}` : String((error as Error).stack);
    return { ...common, outcome: "failed", detail };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

async function judge(
  result: BuildResult,
  kept: readonly KeptObject[],
  { object, patch }: MutantRun,
): Promise<Pick<MutantRecord, "outcome" | "detail">> {
  const mutated = kept.find(({ kind }) => kind === "original")?.content;
  // A unit that compiles and is not linked into anything of this kernel.
  if (mutated === undefined) return { outcome: "unchanged", detail: result.notes.at(-1) ?? "" };
  const { sections, mutant } = await objectDifference(object, mutated);
  if (sections.size === 0 && !patch.usesType) return { outcome: "equal", detail: "" };
  if (result.outcome === "refused") {
    const codes = [...new Set(result.refusals.map(({ code }) => code))].sort();
    return { outcome: codes.some((code) => ofProof.test(code)) ? "unproven" : "refused", detail: codes.join(" ") };
  }
  if (result.outcome !== "built") return { outcome: "unchanged", detail: "" };
  if (patch.usesType) return { outcome: "survivor", detail: "the new code uses a type that is not the kernel's" };
  const carried = new Set(result.functions.map(({ name }) => name));
  const within = [...reachedSections(mutant, carried)].filter((name) => sections.has(name));
  return within.length > 0
    ? { outcome: "survivor", detail: `differs: ${within.join(" ")}` }
    : { outcome: "elsewhere", detail: `differs: ${[...sections].join(" ")}` };
}
