import type { Adaptation, Assumption, RewrittenPart, TypeUnits } from "./adaptation.ts";
import type { TextOverlay } from "./oracle.ts";
import { restoreMembers } from "./removed-members.ts";
import { disabledText, type ShadowMember } from "./shadow/accessors.ts";
import { includeEdit, rewriteShadow } from "./shadow/rewrite.ts";
import { type Obstacle, refuseObstacle } from "./soundness.ts";
import { applyEdits, SourceText } from "./source-text.ts";

/** A struct that the guard refused for its new members. */
export interface ChangedType {
  readonly tag: string;
  /** File that defines it. */
  readonly definition: string;
  /** Text of that file without the patch. */
  readonly original: string;
  readonly units: TypeUnits;
}

/** Makes the new members of structs shadow variables, which are freed when the patch is disabled for good. */
export async function adaptTypes(types: readonly ChangedType[], patched: TextOverlay): Promise<Adaptation> {
  let files = patched;
  const refused: { readonly tag: string; readonly obstacle: Obstacle }[] = [];
  const parts: RewrittenPart[] = [];
  const assumptions: Assumption[] = [];
  const freed = new Map<string, ShadowMember[]>();
  for (const type of types) {
    const { tag, definition, units } = type;
    const restored = await restoreMembers({ ...type, patched: files, oracle: units.oracle });
    if (restored !== undefined) {
      refused.push(...restored.obstacles.map((obstacle) => ({ tag, obstacle })));
      files = restored.files;
      assumptions.push(...restored.assumptions);
      parts.push(
        ...restored.members.map((name) => ({ what: `struct ${tag}: ${name}`, how: "stays where it is, unused" })),
      );
      continue;
    }
    const done = await rewriteShadow({ ...type, patched: files, oracle: units.oracle });
    const home = homeOf(units, done.files, files, definition);
    if (done.obstacles.length > 0) refused.push(...done.obstacles.map((obstacle) => ({ tag, obstacle })));
    else if (typeof home !== "string") refused.push({ tag, obstacle: home });
    else {
      files = done.files;
      freed.set(home, [...(freed.get(home) ?? []), ...done.members]);
      assumptions.push(...done.assumptions);
      for (const { member } of done.members)
        parts.push({ what: `struct ${tag}: ${member.name}`, how: `a shadow variable, ${member.declaration}` });
    }
  }
  const refusals = refused.map(({ tag, obstacle }) => refuseObstacle(`struct ${tag}`, obstacle));
  if (refusals.length > 0) return { files: patched, parts: [], assumptions: [], refusals };
  const result = new Map(files);
  for (const [path, members] of freed) {
    const text = files.get(path) ?? "";
    const source = new SourceText(path, text);
    const include = includeEdit(source, text.length, '"kpatch-macros.h"');
    const end = { start: text.length, end: text.length, text: disabledText(members) };
    result.set(path, applyEdits(text, [include, end]));
    for (const { tag, member } of members)
      assumptions.push({
        ...{ what: `struct ${tag}: ${member.name}`, file: path, line: 0 },
        text: "all values are freed when the patch is disabled, and kept when another one replaces it",
      });
  }
  return { files: result, parts, assumptions, refusals };
}

/**
 * The unit that frees what is left. Its callback also runs when its module goes, and then no code of another one may use the values.
 * @returns an obstacle where no unit will do.
 */
function homeOf(
  { objects }: TypeUnits,
  files: TextOverlay,
  before: TextOverlay,
  definition: string,
): string | Obstacle {
  const nowhere = { file: definition, line: 0, function: "" };
  const changed = [...objects.keys()].filter((unit) => files.get(unit) !== undefined || before.get(unit) !== undefined);
  const owners = new Set([...objects.values()]);
  const own = owners.size === 1 ? changed : changed.filter((unit) => objects.get(unit) === "vmlinux");
  const [home] = own.sort();
  if (home !== undefined) return home;
  if (owners.size > 1)
    return { rule: "SEVERAL_OBJECTS", ...nowhere, values: { modules: [...owners].sort().join(", ") } };
  return { rule: "UNCLEAR", ...nowhere, values: { message: "no C file of the patch sees the type" } };
}
