import { readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { SourceOverlay } from "../../change/change-set.ts";
import { foldersLeftOut } from "../../kernel/tree/include-graph.ts";
import { makeEnvironment } from "../../kernel/tree/kbuild.ts";
import { mayMean, namesInMakefiles } from "../../kernel/tree/makefile-names.ts";
import { type FolderRules, type MakefileRule, rulesOfFolder } from "../../kernel/tree/makefile-rules.ts";
import { createShadow } from "../../kernel/tree/shadow.ts";
import { isReachedFolder } from "../../kernel/tree/units.ts";
import { type Refusal, refuse } from "../../support/refusals.ts";
import { mapConcurrently, run } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";
import { isOutsideOfVmlinux, leaveOut, partOfPlace } from "./image-parts.ts";

export interface RuleVerdict {
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/** A changed file, and what a rule of a Makefile makes of it besides the unit that it may be. */
interface Use {
  readonly path: string;
  readonly folder: string;
  readonly rule: MakefileRule;
  readonly rules: FolderRules;
}

/**
 * Refuses changed files that a rule of some Makefile names: a source that is compiled once more for something that the kernel embeds
 * (arch/x86/purgatory/Makefile has lib/crypto/sha256.c), a header that a script makes a table of (lib/Makefile has include/linux/oid_registry.h). Such a
 * file may be a unit, or be included by units, all the same. What the rule makes is made with both versions: where it stays as it is, nothing is refused.
 * @param paths changed sources and headers that the kernel has.
 */
export async function refuseForRules(
  paths: readonly string[],
  files: SourceOverlay,
  context: BuildContext,
): Promise<RuleVerdict> {
  const uses = paths.length === 0 ? [] : await usesOf(paths, context);
  const verdicts = await mapConcurrently(uses, context.jobs, (use, index) => verdictOn(use, index, files, context));
  const refusals = new Map<string, Refusal>();
  for (const refusal of verdicts.flatMap(({ refusals: found }) => found))
    if (!refusals.has(refusal.what)) refusals.set(refusal.what, refusal);
  return { refusals: [...refusals.values()], notes: [...new Set(verdicts.flatMap(({ notes }) => notes))] };
}

async function usesOf(paths: readonly string[], context: BuildContext): Promise<Use[]> {
  const { tree, kernelFolder, signal } = context;
  if (tree.environment.external !== undefined) return [];
  const skipped = foldersLeftOut(tree.environment);
  const named = (await namesInMakefiles(tree.path, kernelFolder, skipped, signal)).filter(({ makefile }) =>
    isOfKernel(makefile, context),
  );
  const folders = new Map<string, Set<string>>();
  for (const path of paths) {
    for (const name of named.filter((candidate) => mayMean(candidate, path))) {
      const folder = dirname(name.makefile);
      folders.set(folder, (folders.get(folder) ?? new Set()).add(path));
    }
  }
  const question = kbuildOf(context);
  const found = await mapConcurrently([...folders], context.jobs, async ([folder, candidates]) => {
    const rules = await rulesOfFolder(question, folder);
    const uses = [...candidates].flatMap((path) =>
      rules.rules.flatMap((rule): Use[] => (isOther(rule, path, rules) ? [{ path, folder, rule, rules }] : [])),
    );
    return uses.length > 0 && (await isBuilt(folder, context)) ? uses : [];
  });
  return found.flat();
}

function archOf({ tree }: BuildContext): string {
  return `arch/${tree.environment.variables["SRCARCH"] ?? "x86"}`;
}

function isOfKernel(makefile: string, context: BuildContext): boolean {
  const arch = archOf(context);
  return !makefile.startsWith("arch/") || (makefile.startsWith(`${arch}/`) && !makefile.startsWith(`${arch}/um/`));
}

/** What an architecture builds by calls of its own (`$(build)=arch/x86/realmode/rm`) Kbuild's lists do not tell of. */
async function isBuilt(folder: string, context: BuildContext): Promise<boolean> {
  const placed = await partOfPlace(`${folder}/`, context.tree.path);
  if (placed !== undefined) return placed !== "not-built";
  if (folder === "." || folder.startsWith(`${archOf(context)}/`)) return true;
  return isReachedFolder(kbuildOf(context), folder);
}

/** What a compiler makes of a source. */
const compiled = /\.(o|s|i|ll|lst|lds|symtypes|hdrtest|a|ko|mod|cmd)$/;

/** True for a rule that makes something else of a file than Kbuild's own rules do. What objects read by #include is found by their text. */
function isOther(
  { target, prerequisites }: MakefileRule,
  path: string,
  { rules, made, programs }: FolderRules,
): boolean {
  if (!prerequisites.includes(path) || programs.has(target.replace(/\.o$/, ""))) return false;
  if (target.endsWith(".o")) {
    const isOwn = dirname(target) === dirname(path) && basename(target, ".o") === basename(path).replace(/\.[cS]$/, "");
    return prerequisites[0] === path && /\.[cS]$/.test(path) && !isOwn && made.has(target);
  }
  if (compiled.test(target)) return false;
  const users = rules.filter(({ prerequisites: used }) => used.includes(target)).map((rule) => rule.target);
  // A table for an object that the configuration leaves out is never made.
  return users.length === 0 || users.some((user) => !user.endsWith(".o") || made.has(user));
}

async function verdictOn(
  { path, folder, rule, rules }: Use,
  index: number,
  files: SourceOverlay,
  context: BuildContext,
): Promise<RuleVerdict> {
  const makefile = folder === "." ? "Makefile" : `${folder}/Makefile`;
  const { target } = rule;
  if (isOutsideOfVmlinux(target)) {
    const note = `${path}: ${makefile} compiles it for ${target} too, which ran before the kernel and stays as it is until a new one boots`;
    return { refusals: [], notes: [note] };
  }
  if (!(await comesOutOtherwise(target, folder, rules, index, files, context))) return { refusals: [], notes: [] };
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
  target: string,
  folder: string,
  rules: FolderRules,
  index: number,
  files: SourceOverlay,
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
  const [old, fresh] = [await make("original", context.earlier), await make("patched", files)];
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
