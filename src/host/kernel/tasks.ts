import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sanitise } from "../../support/sanitise.ts";

/** How far a transition has come. */
export interface TaskCount {
  /** Tasks that still have to switch. */
  readonly pending: number;
  readonly total: number;
}

/** A task that has not switched yet, and what keeps it. */
export interface PendingTask {
  readonly pid: number;
  readonly tid: number;
  readonly name: string;
  readonly kernelThread: boolean;
  /** Letter of /proc/PID/stat: R runs or wants to, S sleeps and takes signals, D sleeps and does not, I is an idle kernel thread, T is stopped. */
  readonly schedulerState: string;
  /** Function it is in: the patched one if that is on its stack, else the innermost; null when the stack cannot be read. */
  readonly function: string | null;
  /** Whether that function is one that the patch changes, which is what holds the task back. */
  readonly inPatchedFunction: boolean;
  /** Its kernel stack, innermost first, as in /proc/TID/stack; null when it cannot be read. */
  readonly stack: readonly string[] | null;
  /** The systemd unit that it belongs to; null when there is none. */
  readonly unit: string | null;
  /** What would help. */
  readonly advice: string;
}

/** PF_KTHREAD of include/linux/sched.h, in the ninth field of /proc/PID/stat. */
const kernelThreadFlag = 0x0020_0000;

interface TaskPlace {
  readonly pid: string;
  readonly folder: string;
}

/** Reading is synchronous: a host has thousands of tasks, and each file is a few bytes that need no disk. */
function* tasksWithState(root: string): Generator<TaskPlace & { readonly state: number }> {
  for (const pid of numbersIn(join(root, "proc"))) {
    for (const tid of numbersIn(join(root, "proc", pid, "task"))) {
      const folder = join(root, "proc", pid, "task", tid);
      const text = textOf(join(folder, "patch_state"));
      if (text !== undefined) yield { pid, folder, state: Number(text) };
    }
  }
}

function numbersIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** A task may end while it is looked at, and only root may read its patch state. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/**
 * Counts the tasks of a transition towards `enabled`. A task's state (klp_target_state of kernel/livepatch/transition.c) is 1 for the patched
 * code, 0 for the original, and -1 when no transition concerns it.
 * @returns undefined when no task's state can be read, as for anybody but root.
 */
export function countTasks(root: string, enabled: boolean): TaskCount | undefined {
  let pending = 0;
  let total = 0;
  for (const { state } of tasksWithState(root)) {
    total++;
    if (isPending(state, enabled)) pending++;
  }
  return total === 0 ? undefined : { pending, total };
}

function isPending(state: number, enabled: boolean): boolean {
  return state === (enabled ? 0 : 1);
}

/**
 * The tasks that have not switched yet.
 * @param functions names of the functions that the patch changes.
 */
export function pendingTasks(root: string, enabled: boolean, functions: ReadonlySet<string>): readonly PendingTask[] {
  const tasks: PendingTask[] = [];
  for (const { pid, folder, state } of tasksWithState(root)) {
    if (isPending(state, enabled)) tasks.push(describe(root, pid, folder, functions));
  }
  return tasks;
}

/**
 * The tasks that have one of these functions on their kernel stack, whether there is a transition or not.
 * @returns undefined when no task's stack can be read.
 */
export function tasksInside(root: string, functions: ReadonlySet<string>): readonly PendingTask[] | undefined {
  const tasks: PendingTask[] = [];
  let readable = 0;
  for (const pid of numbersIn(join(root, "proc"))) {
    for (const tid of numbersIn(join(root, "proc", pid, "task"))) {
      const folder = join(root, "proc", pid, "task", tid);
      const stack = textOf(join(folder, "stack"));
      if (stack === undefined) continue;
      readable++;
      if (stack.split("\n").some((line) => functions.has(functionOfFrame(line))))
        tasks.push(describe(root, pid, folder, functions));
    }
  }
  return readable === 0 ? undefined : tasks.filter(({ inPatchedFunction }) => inPatchedFunction);
}

function describe(root: string, pid: string, folder: string, functions: ReadonlySet<string>): PendingTask {
  const stat = textOf(join(folder, "stat")) ?? "";
  // The name stands in parentheses and may hold any character (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const kernelThread = (Number(fields[6] ?? 0) & kernelThreadFlag) !== 0;
  const stack = textOf(join(folder, "stack"))?.split("\n").filter(Boolean) ?? null;
  const frames = stack?.map(functionOfFrame) ?? [];
  const patched = frames.find((frame) => functions.has(frame));
  const task = {
    pid: Number(pid),
    tid: Number(folder.slice(folder.lastIndexOf("/") + 1)),
    // Any user can give a task any name.
    name: sanitise(textOf(join(folder, "comm")) ?? "?"),
    kernelThread,
    schedulerState: fields[0] ?? "?",
    function: patched ?? frames[0] ?? null,
    inPatchedFunction: patched !== undefined,
    stack,
    unit: kernelThread ? null : unitOf(textOf(join(root, "proc", pid, "cgroup")) ?? ""),
  };
  return { ...task, advice: adviceFor(task) };
}

/** `[<0>] do_select+0x5e/0x90 [module]` → `do_select`. */
function functionOfFrame(line: string): string {
  return /^(?:\[<[^>]*>\]\s+)?([^\s+]+)/.exec(line)?.[1] ?? line;
}

/**
 * The innermost service or scope in the path of a control group. Users may make groups of their own with any name: what systemd.unit(5) does not allow in a
 * unit's name has no place in a command that is shown to be typed.
 */
function unitOf(cgroup: string): string | null {
  const parts = cgroup.split("\n").flatMap((line) => line.split(":").at(-1)?.split("/") ?? []);
  return parts.findLast((part) => /^[\w:.\\@-]+\.(service|scope)$/.test(part)) ?? null;
}

function adviceFor(task: Omit<PendingTask, "advice">): string {
  const { pid, kernelThread, schedulerState, inPatchedFunction, unit } = task;
  const restart = unit?.endsWith(".service") === true ? `systemctl restart ${unit}` : `end or restart process ${pid}`;
  if (kernelThread) {
    if (schedulerState === "R") {
      return "a kernel thread that is always busy never comes to a point where it can switch (before Linux 6.4 not even where it gives way): stop the work that keeps it busy, then load again";
    }
    return inPatchedFunction
      ? "a kernel thread that sleeps in the function itself switches when that returns: give it something to do, or stop the device or service it works for"
      : "its stack cannot be judged: let the kernel thread run once, or stop the device or service it works for";
  }
  if (schedulerState === "D") {
    return `it waits for a device or file system and takes no signal: fix what it waits for, then load the module again (${restart} works only after that)`;
  }
  if (schedulerState === "T" || schedulerState === "t") {
    return `it is stopped: kill -CONT ${pid} continues it, and it then switches`;
  }
  if (schedulerState === "R")
    return "it runs, and switches at its next return from the kernel: wait, or lighten the load";
  return `${inPatchedFunction ? "it sleeps in the function itself: " : ""}kill -STOP ${pid}; kill -CONT ${pid} makes it pass the border of the kernel, or ${restart}`;
}
