import type { Adaptation, Assumption, RewrittenPart } from "../../adapt/adaptation.ts";
import { judgeVariable } from "../../adapt/live-data/judge-values.ts";
import { type LiveData, withLiveValues } from "../../adapt/live-data/values-text.ts";
import { type Obstacle, refuseObstacle } from "../../adapt/soundness.ts";
import { type ChangedFile, type ChangeSet, changedFile } from "../../change/change-set.ts";
import type { Atom } from "../../diff/atoms.ts";
import { isWritable } from "../../diff/correlate.ts";
import { declaredName } from "../../diff/declarations.ts";
import { ValueReader } from "../../diff/layout/changed-values.ts";
import { isGone, isPercpu, isReadOnlyAfterBoot } from "../../diff/special-sections/section-classes.ts";
import type { Refusal } from "../../refusals/refusals.ts";
import type { UnitPlan } from "../resolve/plan.ts";

/** A change whose new initial values are written by callbacks. */
export interface AdaptedData {
  readonly change: ChangeSet;
  readonly adaptation: Adaptation;
}

/** True for a refusal that says that live data would not get a new initial value. */
export function isAboutLiveData({ code }: Pick<Refusal, "code">): boolean {
  return code === "DATA_CHANGED" || code === "RODATA_SHARED";
}

/**
 * Writes the new initial values of live data from callbacks, where code finds them then, and nothing goes on with the old ones.
 * @param refused what the build refused, of which {@link isAboutLiveData} is true.
 * @returns refusals where a part cannot be written so.
 */
export function adaptData(
  change: ChangeSet,
  plans: readonly UnitPlan[],
  refused: readonly Refusal[],
): AdaptedData | readonly Refusal[] {
  const refusals: Refusal[] = [];
  const parts: RewrittenPart[] = [];
  const assumptions: Assumption[] = [];
  const written: (LiveData & { readonly object: string })[] = [];
  for (const plan of plans) {
    const { pair } = plan;
    const names = new Set(refused.filter(({ unit }) => unit === pair.source).map(({ what }) => what));
    if (names.size === 0) continue;
    const refuseAt = (
      what: string,
      { rule, values, line = 0 }: Pick<Obstacle, "rule" | "values"> & { line?: number },
    ): void => {
      refusals.push(refuseObstacle(what, { rule, file: pair.source, line, function: "", values }));
    };
    const reader = new ValueReader(plan.patched, plan.changes.comparison, plan.correlation);
    const data: LiveData["values"][number][] = [];
    const sections = new Set<string>();
    // A set grows while it is gone through: what only leads to a constant that changes is no change itself.
    for (const name of names) {
      const [before, after] = atomsOf(plan, name);
      const variable = before === undefined || after === undefined ? undefined : reader.changed(before, after);
      if (before === undefined || after === undefined || variable === undefined) {
        const problem = "the debug information does not say what it holds";
        refuseAt(name, { rule: "VALUE_FORM", values: { what: name, problem } });
        continue;
      }
      if (isPercpu(after.section.name)) {
        refuseAt(name, { rule: "VALUE_FORM", values: { what: name, problem: "each processor has one of its own" } });
        continue;
      }
      for (const constant of variable.constants) names.add(declaredName(constant));
      if (variable.constants.length > 0 && variable.values.length + variable.untold.length === 0) continue;
      sections.add(after.section.name);
      const isReadOnly = !isWritable(before) || isReadOnlyAfterBoot(before.section.name);
      const place = {
        file: pair.source,
        isReadOnly,
        usedAtStart: useAtStart(plan, before),
      };
      const judged = judgeVariable(variable, place);
      for (const obstacle of judged.obstacles) refuseAt(name, obstacle);
      if (judged.obstacles.length > 0) continue;
      data.push(...judged.values);
      for (const value of judged.values) {
        const how = `written by a callback: ${value.before} becomes ${value.after}`;
        parts.push({ what: value.expression, how });
      }
      const at = { what: name, file: pair.source, line: variable.line };
      assumptions.push(
        { ...at, text: judged.reason },
        {
          ...at,
          text: "what was made or decided by the old value before stays; where the kernel has another value than the old one, it keeps that",
        },
      );
    }
    const others = [...sections].flatMap((section) => changedBeside(plan, section, names));
    for (const other of others) {
      const problem = `the patch changes it too, in the section of data that is left as it is, and nothing refuses that`;
      refuseAt(other, { rule: "VALUE_FORM", values: { what: other, problem } });
    }
    const earlier = written.find(({ object }) => object === pair.object);
    if (earlier !== undefined || plan.changes.callbacks.length > 0)
      refuseAt(pair.source, {
        rule: "MORE_CALLBACKS",
        values: { object: pair.object, what: earlier?.path ?? pair.source },
      });
    written.push({
      path: pair.source,
      object: pair.object,
      isBuiltIn: pair.object === "vmlinux",
      sections: [...sections],
      values: data,
    });
  }
  if (refusals.length > 0) return refusals;
  const files = new Map(
    change.files.map(({ path, patched }) => [path, patched === null ? null : Buffer.from(patched).toString("latin1")]),
  );
  for (const data of written) {
    const text = files.get(data.path);
    if (typeof text !== "string") return refused;
    files.set(data.path, withLiveValues(text, data));
  }
  const changed = change.files.flatMap((file): ChangedFile[] => {
    const text = files.get(file.path);
    return [...changedFile(file.path, file.original, typeof text === "string" ? Buffer.from(text, "latin1") : null)];
  });
  return { change: { ...change, files: changed }, adaptation: { files, parts, assumptions, refusals: [] } };
}

/** The variable of a refusal in both builds. */
function atomsOf({ correlation }: UnitPlan, name: string): [Atom | undefined, Atom | undefined] {
  const found = [...correlation.patchedOf].filter(
    ([, after]) => after.kind !== "function" && declaredName(after) === name,
  );
  return found.length === 1 ? (found[0] as [Atom, Atom]) : [undefined, undefined];
}

/** Why a variable may have been used when the kernel or the module was set up: code that is gone by now names it, or any other unit could. */
function useAtStart({ original, pair }: UnitPlan, variable: Atom): string | undefined {
  if (variable.symbol?.binding !== 0) return "other units can use it, and they may have when they were set up";
  const user = original.atoms.find(
    ({ section, references }) =>
      isGone(section, pair.object) &&
      references.some(({ target }) => target.kind === "atom" && target.atom === variable),
  );
  return user === undefined ? undefined : `${user.name}, which ran once at the start, used it`;
}

/** Other variables of a section that change, and of which nobody would be told once the section is left out. */
function changedBeside({ correlation, changes }: UnitPlan, section: string, names: ReadonlySet<string>): string[] {
  return [...correlation.patchedOf].flatMap(([before, after]) =>
    after.section.name === section &&
    !names.has(declaredName(after)) &&
    changes.comparison.difference(before, after) !== null
      ? [declaredName(after)]
      : [],
  );
}
