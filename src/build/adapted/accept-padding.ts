import { join } from "node:path";
import { judgePadding } from "../../adapt/filled-padding.ts";
import { type Obstacle, soundnessRules } from "../../adapt/soundness.ts";
import { UnitOracle } from "../../adapt/unit-oracle.ts";
import type { ChangeSet } from "../../change/change-set.ts";
import type { LayoutFindings } from "../../diff/layout.ts";
import { KmendError } from "../../support/errors.ts";
import type { BuildContext } from "../build-context.ts";
import { commandsOfUnits, definitionOf } from "./type-units.ts";

/**
 * Takes back refusals of types whose only change are members in padding that is zero in every object, with the evidence as a note. Of a type that keeps its
 * refusal, a note says what was found.
 */
export async function acceptPadding(
  layouts: LayoutFindings,
  change: ChangeSet,
  context: BuildContext,
): Promise<LayoutFindings> {
  const accepted = new Set<string>();
  const notes: string[] = [];
  for (const [title, members] of layouts.filled ?? []) {
    const tag = /^struct (\w+)$/.exec(title)?.[1];
    const definition = tag === undefined ? undefined : definitionOf(tag, change);
    if (tag === undefined || definition === undefined) continue;
    const { tree, earlier: base, jobs, signal, progress } = context;
    const folder = join(context.folder, `padding-${tag}`);
    const asked = progress.phase("padding", `Look at objects of ${title}`, async () => {
      const commands = await commandsOfUnits(definition, change, { ...context, folder });
      const oracle = new UnitOracle({ tree: tree.path, folder, commands, base, jobs, signal });
      return judgePadding(tag, definition, members, oracle);
    });
    // The type is refused then for what it is, and not for what cannot be found out about it.
    const verdict = await asked.catch((error: unknown) => {
      if (error instanceof KmendError) return error;
      throw error;
    });
    if (verdict instanceof KmendError) {
      notes.push(`${title}: nothing was found out about its objects: ${verdict.message}`);
      continue;
    }
    if (verdict.obstacles.length === 0) {
      accepted.add(title);
      notes.push(`${title}: accepted: ${verdict.evidence}`);
    } else notes.push(...verdict.obstacles.map((obstacle) => `${title}: ${obstacleText(obstacle)}`));
  }
  const refusals = layouts.refusals.filter(({ what }) => !accepted.has(what));
  return { ...layouts, refusals, notes: [...layouts.notes, ...notes] };
}

function obstacleText({ rule, file, line, values }: Obstacle): string {
  const why = soundnessRules[rule].why.replaceAll(/\{(\w+)\}/g, (_, key: string) => values[key] ?? "");
  return `its new member fits into padding, but ${why} (${file}${line > 0 ? `:${line}` : ""})`;
}
