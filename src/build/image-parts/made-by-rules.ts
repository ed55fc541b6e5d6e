import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { SourceOverlay } from "../../change/change-set.ts";
import { makeEnvironment } from "../../kernel/tree/kbuild.ts";
import type { FolderRules } from "../../kernel/tree/makefile-rules.ts";
import { createShadow } from "../../kernel/tree/shadow.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { counted } from "../../support/counted.ts";
import { mapConcurrently, run } from "../../support/run.ts";
import type { BuildContext } from "../build-context.ts";
import { isOutsideOfVmlinux, leaveOut, partOfPlace } from "./image-parts.ts";
import { type RuleUse, usesByRules } from "./rule-uses.ts";

export interface RuleVerdict {
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/** The changed files, as an object's rule and as a generator's reads them. */
export interface RuleInputs {
  readonly marked: SourceOverlay;
  readonly plain: SourceOverlay;
}

/**
 * Refuses changed files that a rule of some Makefile names: a source that is compiled once more for something that the kernel embeds
 * (arch/x86/purgatory/Makefile has lib/crypto/sha256.c), a header that a script makes a table of (lib/Makefile has include/linux/oid_registry.h). Such a
 * file may be a unit, or be included by units, all the same. What the rule makes is made with both versions: where it stays as it is, nothing is refused.
 * @param paths changed sources and headers that the kernel has.
 * @param files all changed files: `marked` with line numbers of the kernel's own source, `plain` as they are.
 * @param instead names of new files by that of a path which stands for them.
 */
export async function refuseForRules(
  paths: readonly string[],
  files: RuleInputs,
  context: BuildContext,
  instead: ReadonlyMap<string, string> = new Map(),
): Promise<RuleVerdict> {
  const uses = await usesByRules(paths, context);
  if (uses.length === 0) return { refusals: [], notes: [] };
  const title = `Make ${counted(uses.length, "file")} that rules of Makefiles make of changed files`;
  const verdicts = await context.progress.phase("rules", title, () =>
    mapConcurrently(uses, context.jobs, (use, index) =>
      verdictOn({ ...use, path: instead.get(use.path) ?? use.path }, index, files, context),
    ),
  );
  const refusals = new Map<string, Refusal>();
  for (const refusal of verdicts.flatMap(({ refusals: found }) => found))
    if (!refusals.has(refusal.what)) refusals.set(refusal.what, refusal);
  return { refusals: [...refusals.values()], notes: [...new Set(verdicts.flatMap(({ notes }) => notes))] };
}

async function verdictOn(use: RuleUse, index: number, files: RuleInputs, context: BuildContext): Promise<RuleVerdict> {
  const { path, folder, rule } = use;
  const makefile = folder === "." ? "Makefile" : `${folder}/Makefile`;
  const { target } = rule;
  if (isOutsideOfVmlinux(target)) {
    const note = `${path}: ${makefile} compiles it for ${target} too, which ran before the kernel and stays as it is until a new one boots`;
    return { refusals: [], notes: [note] };
  }
  if (!(await comesOutOtherwise(use, index, files, context))) return { refusals: [], notes: [] };
  if (!target.endsWith(".o")) {
    const part = `what ${makefile} makes of it (${target})`;
    return { refusals: [refuse("IMAGE_PART", path, path, { part, advice: leaveOut })], notes: [] };
  }
  const placed = await partOfPlace(target, context.tree.path);
  if (placed === undefined || placed === "not-built") {
    const note = `${path}: ${makefile} compiles it for ${target} too, which is not patched and stays as it is`;
    return { refusals: [], notes: [note] };
  }
  const part = `${placed.part} (${target}, by a rule of ${makefile})`;
  return { refusals: [refuse("IMAGE_PART", path, path, { part, advice: placed.advice })], notes: [] };
}

/** Makes a target with the old and with the new files, each in a shadow of the tree. What cannot be made counts as different. */
async function comesOutOtherwise(
  { folder, rule: { target }, rules }: RuleUse,
  index: number,
  files: RuleInputs,
  context: BuildContext,
): Promise<boolean> {
  const make = async (version: string, overlay: SourceOverlay): Promise<Buffer | undefined> => {
    const shadow = join(context.folder, `rule-${index}-${version}`);
    const written = madeFor(target, rules);
    createShadow(context.tree.path, shadow, overlay, [folder, ...written.map((path) => dirname(path))]);
    // Make would write through a link.
    await Promise.all(written.map((path) => rm(join(shadow, path), { force: true })));
    return makeTarget(target, folder, shadow, context);
  };
  const [old, fresh] = [
    await make("original", context.earlier),
    await make("patched", target.endsWith(".o") ? files.marked : files.plain),
  ];
  return old === undefined || fresh === undefined || !old.equals(fresh);
}

/** A target and all that rules of its folder make for it. */
function madeFor(target: string, { rules }: FolderRules): string[] {
  const all = new Set([target]);
  for (const path of all)
    for (const { target: made, prerequisites } of rules)
      if (made === path)
        for (const used of prerequisites) if (rules.some((rule) => rule.target === used)) all.add(used);
  return [...all];
}

async function makeTarget(
  target: string,
  folder: string,
  shadow: string,
  { tree, signal, logFile }: BuildContext,
): Promise<Buffer | undefined> {
  const env = makeEnvironment(tree.environment, shadow);
  const options = { cwd: shadow, env, cleanEnv: true, signal, allowFailure: true, logFile };
  const words = ["-rR", "--no-print-directory", "-f", "./scripts/Makefile.build", `obj=${folder}`, "need-builtin=1"];
  const { exitCode } = await run("make", [...words, target], options);
  signal?.throwIfAborted();
  if (exitCode !== 0) return undefined;
  // Lines of the source are no part of what is embedded.
  if (target.endsWith(".o")) {
    const stripped = await run(env["OBJCOPY"] ?? "objcopy", ["--strip-debug", target], options);
    if (stripped.exitCode !== 0) return undefined;
  }
  return readFile(join(shadow, target)).catch(() => undefined);
}
