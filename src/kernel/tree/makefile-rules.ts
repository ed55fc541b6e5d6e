import { readFile, writeFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { run } from "../../support/run.ts";
import { makeEnvironment } from "./kbuild.ts";
import type { KbuildQuestion } from "./units.ts";

/** What a Makefile has made of which files. */
export interface MakefileRule {
  /** What is made, relative to the tree. */
  readonly target: string;
  /** Files that it is made of, in order, relative to the tree; those that only have to be there before (`|`) left out. */
  readonly prerequisites: readonly string[];
}

/** The rules of a folder's Makefile, as make sees them with the kernel's configuration. */
export interface FolderRules {
  readonly rules: readonly MakefileRule[];
  /** What Kbuild makes in the folder for the kernel and its modules: paths relative to the tree. */
  readonly made: ReadonlySet<string>;
  /** Programs that run during the build, and their objects: paths without suffix. */
  readonly programs: ReadonlySet<string>;
}

/** Variables of scripts/Makefile.build and scripts/Makefile.host (Linux 5.4 to 6.18), as they are when the folder's Makefile has been read. */
const rulesReporter = `kmend-rules:
	@echo kmend-programs: $(host-csingle) $(host-cobjs) $(host-cxxobjs)
	@echo kmend-made: $(real-obj-y) $(real-obj-m) $(lib-y) $(targets) $(extra-y) $(always-y)
`;

/**
 * Asks make for the rules that it has after it has read the Makefile of a folder (`make -p`), which takes some 150 ms. The prepared tree never changes, and
 * its answers are kept. Conditions and variables are resolved; pattern rules are told for what Kbuild makes by them.
 * @returns nothing for a folder that Kbuild has no Makefile for, or whose Makefile it cannot read.
 */
export async function rulesOfFolder(question: KbuildQuestion, folder: string): Promise<FolderRules> {
  const { kept } = question;
  const path = kept === undefined ? undefined : join(kept, `${folder.replaceAll("/", "__")}.rules`);
  const known = path === undefined ? undefined : await readFile(path, "utf8").catch(() => undefined);
  if (known !== undefined) return parseKept(known);
  const found = readRules(await askForRules(question, folder), folder);
  if (path !== undefined) await writeFileAtomically(path, keptText(found));
  return found;
}

async function askForRules({ environment, at, scratch }: KbuildQuestion, folder: string): Promise<string> {
  const reporter = await makeOnce(join(scratch, "kmend-rules.mk"), (path) => writeFile(path, rulesReporter));
  const words = ["-rR", "--no-print-directory", "-p", "-f", "./scripts/Makefile.build", `obj=${folder}`];
  const { stdout } = await run("make", [...words, "need-builtin=1", "need-modorder=1", "kmend-rules"], {
    ...{ cwd: at, env: { ...makeEnvironment(environment, at), MAKEFILES: reporter } },
    ...{ cleanEnv: true, allowFailure: true },
  });
  return stdout;
}

/** Reads what `make -p` printed for a folder; exported for tests. */
export function readRules(text: string, folder: string): FolderRules {
  const list = (name: string): string[] => {
    const line = new RegExp(`^kmend-${name}:(.*)$`, "m").exec(text)?.[1] ?? "";
    return line.split(/\s+/).filter(Boolean);
  };
  const inFolder = (path: string): string => normalize(path.startsWith(`${folder}/`) ? path : join(folder, path));
  const made = new Set(list("made").map(inFolder));
  const programs = new Set(list("programs").map((path) => inFolder(path).replace(/\.o$/, "")));
  const explicit: MakefileRule[] = [];
  const patterns: MakefileRule[] = [];
  // Files that are only mentioned, and the variables of a target, look like rules too.
  const blocks = text.split(/\n{2,}/).filter((block) => !block.includes("# Not a target:"));
  for (const line of blocks.flatMap((block) => block.split("\n"))) {
    const [, target, listed] = /^([^\s#:=]+)::?(?: ([^=]*))?$/.exec(line) ?? [];
    if (target === undefined || listed === undefined) continue;
    const prerequisites = (listed.split("|")[0] ?? "").split(/\s+/).filter((word) => word !== "" && word !== "FORCE");
    if (prerequisites.length === 0 || /^(\.|kmend-)/.test(target)) continue;
    const rule = { target: normalize(target), prerequisites: prerequisites.map((path) => normalize(path)) };
    if (target.includes("%")) patterns.push(rule);
    else explicit.push(rule);
  }
  const resolved = [...made].flatMap((target) => patterns.flatMap((rule) => resolve(rule, target, folder)));
  return { rules: [...explicit, ...resolved], made, programs };
}

/** A pattern rule for one target; those that every folder has (scripts/Makefile.build) say nothing. */
function resolve({ target: pattern, prerequisites }: MakefileRule, target: string, folder: string): MakefileRule[] {
  const [before = "", after = ""] = pattern.split("%");
  const isUsual = before === `${folder}/` && prerequisites.every((path) => path.startsWith(`${folder}/%`));
  if (isUsual || !target.startsWith(before) || !target.endsWith(after)) return [];
  const stem = target.slice(before.length, target.length - after.length);
  return stem === "" ? [] : [{ target, prerequisites: prerequisites.map((path) => path.replace("%", stem)) }];
}

function keptText({ rules, made, programs }: FolderRules): string {
  const lines = rules.map(({ target, prerequisites }) => [target, ...prerequisites]);
  return [[...made], [...programs], ...lines].map((words) => words.join("\t")).join("\n");
}

function parseKept(text: string): FolderRules {
  const [made = [], programs = [], ...lines] = text
    .split("\n")
    .map((line) => line.split("\t").filter((word) => word !== ""));
  const rules = lines.flatMap(([target, ...prerequisites]) =>
    target === undefined ? [] : [{ target, prerequisites }],
  );
  return { rules, made: new Set(made), programs: new Set(programs) };
}
