import { dirname, join } from "node:path";
import type { PatchFile } from "../../change/patch-files.ts";
import { createShadow } from "../../kernel/tree/shadow.ts";
import { objectPath, unitCommands } from "../../kernel/tree/unit-command.ts";
import { type KbuildQuestion, membershipOf, UnitLists } from "../../kernel/tree/units.ts";
import { type BuildContext, type ForeseenQuestion, type KbuildAnswer, kbuildOf } from "../build-context.ts";
import { anyOf } from "../prefetch.ts";

/** Up to how many units their commands are asked for before it is known whether they are built. */
const fewUnits = 8;

/** Objects that these source files most likely become: nearly every unit is built, and under its own name. Empty for many files, which are asked about first. */
export function likelyObjects(sources: readonly string[]): string[] {
  return sources.length > fewUnits ? [] : sources.map(objectPath);
}

/**
 * Asks Kbuild about the files that patches name, which takes as long as applying them. Where they touch anything but C files and headers that are there, the
 * question is another one.
 * @returns undefined when there is nothing to be asked, or nothing is certain yet.
 */
export async function foreseeQuestion(
  patches: readonly Pick<PatchFile, "files">[],
  context: BuildContext,
): Promise<ForeseenQuestion | undefined> {
  const files = patches.flatMap((patch) => patch.files);
  const isPlain = files.every((file) => file.old === file.new && /\.[ch]$/.test(file.new ?? ""));
  if (!isPlain || context.tree.environment.external !== undefined) return undefined;
  const named = [...new Set(files.flatMap(({ new: path }) => (path?.endsWith(".c") === true ? [path] : [])))];
  const known = await Promise.all(named.map((path) => context.cache.command(path)));
  const sources = named.filter((_, index) => known[index] === undefined).sort();
  if (sources.length === 0 || sources.length > fewUnits) return undefined;
  const answer = context.prefetch.of((dropped) => {
    return askPreparedTree(sources, { ...context, signal: anyOf(dropped, context.signal) });
  });
  answer.begin();
  return { sources, answer };
}

/** Asks about the prepared tree. */
export async function askPreparedTree(sources: readonly string[], context: BuildContext): Promise<KbuildAnswer> {
  if (sources.length === 0) return { membership: new Map(), commands: new Map() };
  const { foreseen } = context;
  if (foreseen !== undefined && foreseen.sources.join("\n") === [...sources].sort().join("\n"))
    return foreseen.answer.result();
  return ask(sources, likelyObjects(sources), kbuildOf(context), context);
}

/** Asks about the patched tree: where the patch touches Makefiles or adds units, Kbuild has to know those. */
export async function askPatchedTree(
  sources: readonly string[],
  patchedFiles: ReadonlyMap<string, Uint8Array | null>,
  context: BuildContext,
): Promise<KbuildAnswer> {
  if (sources.length === 0) return { membership: new Map(), commands: new Map() };
  const at = join(context.folder, "asked");
  const folders = sources.map((path) => dirname(path));
  createShadow(context.tree.path, at, patchedFiles, folders);
  return ask(sources, [], { ...kbuildOf(context), at, kept: undefined }, context);
}

/** @param objects whose commands are asked for at the same time. */
function ask(
  sources: readonly string[],
  objects: readonly string[],
  question: KbuildQuestion,
  context: BuildContext,
): Promise<KbuildAnswer> {
  const { tree, folder, progress } = context;
  return progress.phase("kbuild", "Ask Kbuild what is built, and how", async () => {
    const units = objects.map((object, index) => ({ source: sources[index] as string, object }));
    const lists = new UnitLists(objects.map((object) => dirname(object)));
    const told = unitCommands(tree, question.at, units, { ...context, beside: { lists, scratch: folder } })
      .catch(() => [])
      .finally(() => lists.end());
    const [membership, commands] = await Promise.all([membershipOf(question, sources, lists), told]);
    return { membership, commands: new Map(commands.map((command) => [command.object, command])) };
  });
}
