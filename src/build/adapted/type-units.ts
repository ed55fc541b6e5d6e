import { SourceText } from "../../adapt/source-text.ts";
import { findStructs } from "../../adapt/struct-text.ts";
import type { ChangeSet, SourceOverlay } from "../../change/change-set.ts";
import { seenByEveryReader } from "../../change/plain-change.ts";
import { type UnitCommand, unitCommands } from "../../kernel/tree/unit-command.ts";
import type { BuildContext } from "../build-context.ts";
import { unitsThatSee } from "../pairs/affected-units.ts";

/** The changed file that defines `struct tag` before the change; undefined when none or several do. */
export function definitionOf(tag: string, { files }: Pick<ChangeSet, "files">): string | undefined {
  const defining = files.filter(
    ({ path, original }) => original !== null && /\.[ch]$/.test(path) && hasStruct(path, original, tag),
  );
  return defining.length === 1 ? defining[0]?.path : undefined;
}

function hasStruct(path: string, content: Uint8Array, tag: string): boolean {
  return findStructs(new SourceText(path, Buffer.from(content).toString("latin1")), tag).length > 0;
}

/**
 * Commands of all units that see a type.
 * @param definition the changed file that defines it.
 * @throws KmendError `TOO_MANY_UNITS`, and `COMPILE_FAILED` when Kbuild does not know how to make a unit.
 */
export async function commandsOfUnits(
  definition: string,
  { files }: Pick<ChangeSet, "files">,
  context: BuildContext,
): Promise<readonly UnitCommand[]> {
  if (definition.endsWith(".c")) {
    const command = await context.cache.command(definition);
    return command === undefined ? [] : [command];
  }
  const overlay: SourceOverlay = new Map(files.map(({ path, patched }) => [path, patched]));
  const seen = await unitsThatSee({ paths: [definition], plain: seenByEveryReader(files), files: overlay }, context);
  const unknown = seen.filter(({ command }) => command === undefined);
  const asked = unknown.map(({ source, member }) => ({ source, object: member.object }));
  const told = await unitCommands(context.tree, context.tree.path, asked, context);
  return [...seen.flatMap(({ command }) => (command === undefined ? [] : [command])), ...told];
}
