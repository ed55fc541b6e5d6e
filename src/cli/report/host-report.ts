import type { HostRefusal } from "../../host/kernel/host-refusals.ts";
import type { PendingTask } from "../../host/kernel/tasks.ts";
import { sanitiseLine } from "../../support/sanitise.ts";
import type { CommandContext } from "../command.ts";

/** What the results of all changes have in common. */
interface ChangeResult {
  readonly dryRun: boolean;
  readonly steps: readonly string[];
  readonly modules: readonly ChangedModule[];
}

interface ChangedModule {
  readonly name: string;
  readonly outcome: string;
  readonly refusals: readonly HostRefusal[];
  readonly notes: readonly string[];
  readonly milliseconds?: number | null;
  readonly error?: {
    readonly code: string;
    readonly message: string;
    readonly why: string;
    readonly hint: string;
  } | null;
  readonly stalledTasks?: readonly PendingTask[];
  readonly replaced?: readonly string[];
}

/** What each outcome is called. */
const outcomeWords: Readonly<Record<string, string>> = {
  already: "already there",
  absent: "not there",
  planned: "would be done",
};

/** Prints what became of each module: the outcome on standard output, and what went wrong on standard error. */
export function reportChange(context: CommandContext, result: ChangeResult): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  if (result.dryRun) for (const step of result.steps) context.print(step);
  for (const {
    name,
    outcome,
    refusals,
    notes,
    milliseconds,
    error,
    stalledTasks = [],
    replaced = [],
  } of result.modules) {
    for (const note of notes) context.progress.note(note);
    for (const { code, what, where, why, hint } of refusals) {
      context.printProblem({ kind: "refused", code, message: what, where, why, hint });
    }
    if (error !== null && error !== undefined) {
      const { code, message, why, hint } = error;
      context.printProblem({ kind: "error", code, message, where: undefined, why, hint });
    }
    for (const line of taskLines(stalledTasks)) context.print(line);
    // The steps have told it.
    if (outcome === "planned") continue;
    // The last line of all tells the outcome with its reason: scripts keep it as the message.
    const seconds = typeof milliseconds === "number" ? ` in ${(milliseconds / 1000).toFixed(1)} s` : "";
    const others = replaced.length === 0 ? "" : `, replaced ${replaced.join(", ")}`;
    const reasons = [...refusals.map(({ why }) => why), ...(error?.message === undefined ? [] : [error.message])];
    const reason = reasons.length === 0 ? "" : `: ${reasons.join("; ")}`;
    context.print(
      `${sanitiseLine(name)}: ${context.style("bold", outcomeWords[outcome] ?? outcome)}${seconds}${others}${reason}`,
    );
  }
  if (result.modules.length === 0) context.print("nothing to do");
}

/** Most tasks that are told one by one, and most frames of a stack. */
const mostTasks = 20;
const mostFrames = 6;

/** The tasks that hold a transition up: each with where it is, and what would help. */
export function taskLines(tasks: readonly PendingTask[]): string[] {
  const lines: string[] = [];
  for (const task of tasks.slice(0, mostTasks)) {
    const { pid, tid, name, kernelThread, schedulerState, inPatchedFunction, unit, stack, advice } = task;
    const kind = kernelThread ? "kernel thread" : pid === tid ? "process" : `thread of process ${pid}`;
    const at =
      task.function === null ? "" : ` in ${task.function}${inPatchedFunction ? " (which the patch changes)" : ""}`;
    lines.push(`  ${name} (${tid}), ${kind}${unit === null ? "" : ` of ${unit}`}, state ${schedulerState}${at}`);
    for (const frame of (stack ?? []).slice(0, mostFrames)) lines.push(`      ${frame}`);
    lines.push(`    ${advice}`);
  }
  if (tasks.length > mostTasks) lines.push(`  and ${tasks.length - mostTasks} more (--json has them all)`);
  return lines;
}
