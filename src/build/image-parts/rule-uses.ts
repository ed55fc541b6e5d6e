import { basename, dirname } from "node:path";
import { foldersLeftOut } from "../../kernel/tree/include-graph.ts";
import { mayMean, type NamedFile, namesInMakefiles } from "../../kernel/tree/makefile-names.ts";
import { type FolderRules, type MakefileRule, rulesOfFolder } from "../../kernel/tree/makefile-rules.ts";
import { isReachedFolder } from "../../kernel/tree/units.ts";
import { mapConcurrently } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";
import { isOutsideOfVmlinux, partOfPlace } from "./image-parts.ts";

/** A changed file, and what a rule of a Makefile makes of it besides the unit that it may be. */
export interface RuleUse {
  readonly path: string;
  readonly folder: string;
  readonly rule: MakefileRule;
  readonly rules: FolderRules;
}

/** What rules of the Makefiles of this kernel make of files. @param paths files that the kernel has. */
export async function usesByRules(paths: readonly string[], context: BuildContext): Promise<RuleUse[]> {
  if (paths.length === 0) return [];
  const named = await namesOfKernel(context);
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
      rules.rules.flatMap((rule): RuleUse[] => (isOther(rule, path, rules) ? [{ path, folder, rule, rules }] : [])),
    );
    return uses.length > 0 && (await isBuilt(folder, context)) ? uses : [];
  });
  return found.flat();
}

/** Objects of embedded parts that are compiled from a source of another folder. */
export async function embeddedFromElsewhere(context: BuildContext): Promise<{ source: string; object: string }[]> {
  const named = await namesOfKernel(context);
  const reaching = named.filter(({ name }) => /\/.*\.c$/.test(name.replace(/^\$\((obj|src)\)\//, "")));
  const folders = [...new Set(reaching.map(({ makefile }) => dirname(makefile)))];
  const found = await mapConcurrently(folders, context.jobs, async (folder) => {
    const placed = await partOfPlace(`${folder}/`, context.tree.path);
    if (placed === undefined || placed === "not-built" || isOutsideOfVmlinux(`${folder}/`)) return [];
    const rules = await rulesOfFolder(kbuildOf(context), folder);
    return rules.rules.flatMap((rule) => {
      const source = rule.prerequisites[0] ?? "";
      return rule.target.endsWith(".o") && isOther(rule, source, rules) ? [{ source, object: rule.target }] : [];
    });
  });
  return found.flat();
}

async function namesOfKernel(context: BuildContext): Promise<NamedFile[]> {
  const { tree, kernelFolder, signal } = context;
  if (tree.environment.external !== undefined) return [];
  const names = await namesInMakefiles(tree.path, kernelFolder, foldersLeftOut(tree.environment), signal);
  return names.filter(({ makefile }) => isOfKernel(makefile, context));
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
