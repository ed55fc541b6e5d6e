import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChangedFile } from "../../change/change-set.ts";
import { changedTraceEvents, type TraceEventChange } from "../../change/trace-events.ts";
import { foldersLeftOut, includeGraph } from "../../kernel/tree/include-graph.ts";
import { membershipOf } from "../../kernel/tree/units.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { mapConcurrently } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";

/** What the text of a change alone shows to be impossible, so that nothing has to be compiled to tell it: trace events. */
export async function refusedByText(files: readonly ChangedFile[], context: BuildContext): Promise<Refusal[]> {
  const events = changedTraceEvents(files);
  if (events.length === 0) return [];
  const config = await readFile(join(context.tree.path, ".config"), "utf8");
  const configured = events.filter(({ conditions }) => !conditions.some((condition) => isOff(condition, config)));
  const paths = [...new Set(configured.map(({ path }) => path))];
  const made = await mapConcurrently(paths, 1, (path) => isMade(path, files, context));
  return configured
    .filter(({ path }) => made[paths.indexOf(path)] === true)
    .map((event) => refuse("TRACE_EVENT", event.name, event.path, { problem: problemOf(event) }));
}

function problemOf({ kind, macro }: TraceEventChange): string {
  return kind === "new" ? `the patch adds it with ${macro}()` : `the patch changes what ${macro}() makes of it`;
}

/** True for a condition on one configuration option that the kernel does not fulfil. */
function isOff(condition: string, config: string): boolean {
  const [, word, plain, inDefined] =
    /^# ?(ifdef|ifndef|if) (?:(CONFIG_\w+)|(?:IS_ENABLED|defined) ?\( ?(CONFIG_\w+) ?\))$/.exec(condition) ?? [];
  const option = plain ?? inDefined;
  if (word === undefined || option === undefined) return false;
  const isSet = new RegExp(`^${option}=`, "m").test(config);
  return word === "ifndef" ? isSet : !isSet;
}

/** True when a unit of this kernel makes the events of a header, which it asks for with CREATE_TRACE_POINTS (include/trace/define_trace.h). */
async function isMade(header: string, files: readonly ChangedFile[], context: BuildContext): Promise<boolean> {
  if (header === "kernel/trace/trace_entries.h") return true;
  const { tree, signal } = context;
  const isMaker = (text: string): boolean => /^\s*#\s*define\s+CREATE_TRACE_POINTS\b/m.test(text);
  const changed = files.filter(
    ({ path, patched }) => path.endsWith(".c") && patched !== null && isMaker(Buffer.from(patched).toString("latin1")),
  );
  if (files.some(({ path, kind }) => path === header && kind === "added")) return changed.length > 0;
  const graph = await includeGraph(tree.path, context.kernelFolder, foldersLeftOut(tree.environment), signal);
  const readers = graph.unitsThatMaySee([header]);
  const makers = await mapConcurrently(readers, context.jobs, async (path) =>
    isMaker(await readFile(join(tree.path, path), "latin1").catch(() => "")),
  );
  const membership = await membershipOf(
    kbuildOf(context),
    readers.filter((_, index) => makers[index] === true),
  );
  return [...membership.values()].some(({ kind }) => kind !== "not-built");
}
