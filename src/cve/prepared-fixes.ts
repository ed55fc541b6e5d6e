import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { rethrowDiskErrors } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import type { ChosenFix } from "./chosen-fixes.ts";
import { compareIds } from "./cve-data.ts";
import type { FixPatch } from "./fix-patch.ts";
import type { FixSource, Prerequisite } from "./fix-sources.ts";

/** A fix with its patch in a file. */
export interface PreparedFix extends ChosenFix {
  readonly patch: FixPatch;
  readonly path: string;
}

/** Writes the patch of a fix into a folder, under a name that tells what it fixes. */
export async function prepareFix(fix: ChosenFix, source: FixSource, folder: string): Promise<PreparedFix> {
  const patch = await source.patchOf(fix.commit);
  const [first = "commit", ...others] = [...fix.cves].sort(compareIds);
  const more = others.length > 0 ? `-and-${others.length}` : "";
  const path = join(folder, `${first}${more}-${fix.commit.slice(0, 12)}.patch`);
  await makeFolder(folder).catch(rethrowDiskErrors);
  await writeFile(path, patch.content).catch(rethrowDiskErrors);
  return { ...fix, patch, path };
}

/** Why a fix is left out. */
export interface LeftOut {
  readonly fix: PreparedFix;
  readonly error: KmendError;
}

/**
 * Applies fixes one after the other to copies of the files that they touch, each whole or not at all.
 * @param work a private folder.
 * @returns those that fit in this order, and those that do not.
 */
export async function applyInOrder(
  fixes: readonly PreparedFix[],
  tree: string,
  work: string,
): Promise<{ readonly fits: readonly PreparedFix[]; readonly misfits: readonly LeftOut[] }> {
  const fits: PreparedFix[] = [];
  const misfits: LeftOut[] = [];
  let overlay: SourceOverlay = new Map();
  for (const [number, fix] of fixes.entries()) {
    try {
      const folder = join(work, String(number));
      await makeFolder(folder).catch(rethrowDiskErrors);
      const change = await applyPatches([await readPatchFile(fix.path)], tree, folder, ["-p1"], overlay);
      overlay = new Map([...overlay, ...change.files.map(({ path, patched }) => [path, patched] as const)]);
      fits.push(fix);
    } catch (error) {
      if (!(error instanceof KmendError)) throw error;
      misfits.push({ fix, error });
    }
  }
  return { fits, misfits };
}

/** How many commits an error names. */
const shownPrerequisites = 8;

/**
 * What a person needs to know of a fix that does not apply: which commits touched the lines that it changes since the kernel's version.
 * @param version of the kernel.
 */
export async function withPrerequisites(
  error: KmendError,
  fix: PreparedFix,
  source: FixSource,
  version: string,
): Promise<KmendError> {
  if (error.code !== "PATCH_DOES_NOT_APPLY") return error;
  const found = await source.prerequisitesOf(fix.patch, version);
  const { code, message, where, why, exitCode } = error;
  const name = fix.cves[0] ?? fix.commit;
  if (found === undefined || found.length === 0) {
    const hint =
      found === undefined
        ? `give a clone of the stable tree with its tags (--git DIR), which shows what ${name} rests on`
        : `no commit since ${version} touched these lines: the kernel's source differs from the stable tree there; port the patch`;
    return new KmendError({ code, message, where, why, hint, exitCode, cause: error });
  }
  return new KmendError({
    code,
    message,
    where,
    why: `${why ?? ""}; since ${version} these commits touched its lines: ${found.slice(0, shownPrerequisites).map(describe).join("; ")}`,
    hint: `${found
      .slice(0, shownPrerequisites)
      .map(({ commit }) => `--with ${commit}`)
      .join(" ")} builds it together with them`,
    exitCode,
    cause: error,
  });
}

function describe({ commit, title }: Prerequisite): string {
  return `${commit.slice(0, 12)} (${title})`;
}
