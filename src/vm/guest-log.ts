import { logMarker } from "./guest-script.ts";

interface LogRule {
  readonly pattern: RegExp;
  readonly reason: string;
}

/** Kernel messages that end a try with `failed`, each with what it means. Sources: the named functions of Linux 6.1. */
const alarms: readonly LogRule[] = [
  { pattern: /Kernel panic - not syncing/, reason: "the kernel panicked" },
  { pattern: /\bBUG: /, reason: "the kernel found a bug (bad access, wrong context or lockup)" },
  { pattern: /kernel BUG at /, reason: "a BUG() was hit" },
  { pattern: /\bOops: /, reason: "the kernel oopsed" },
  {
    pattern: /general protection fault|(?:stack segment|invalid opcode|double fault|divide error): /,
    reason: "a CPU exception in the kernel",
  },
  { pattern: /\bWARNING: /, reason: "a WARN() was hit" },
  { pattern: /-+\[ cut here \]-+/, reason: "a WARN() or BUG() was hit" },
  { pattern: /\bCall Trace:/, reason: "the kernel printed a call trace" },
  { pattern: /\bUBSAN: |\bKASAN: |\bKCSAN: |\bKFENCE: /, reason: "a sanitizer complained" },
  {
    pattern: /INFO: task .* blocked for more than|rcu: INFO: .* detected stalls?|rcu: INFO: .* self-detected stall/,
    reason: "a task or CPU made no progress",
  },
  { pattern: /refcount_t: |list_(?:add|del) corruption/, reason: "a data structure was damaged" },
  {
    pattern: /livepatch: .*(?:fail|not compatible|not found|unresolvable|invalid|refus|not marked)/i,
    reason: "livepatch reported a failure",
  },
  { pattern: /x86\/modules: Skipping invalid relocation target/, reason: "a relocation hit a place that was not zero" },
  { pattern: /Unknown symbol .* \(err /, reason: "a symbol of the module is missing" },
  {
    pattern: /disagrees about version of symbol|version magic .* should be/,
    reason: "the module was made for another kernel",
  },
];

/** Messages that every out-of-tree or unsigned livepatch module causes (load_module and check_modinfo_livepatch in kernel/module/main.c). */
const ordinary: readonly LogRule[] = [
  { pattern: /module verification failed: signature and\/or required key missing/, reason: "the module is not signed" },
  { pattern: /tainting kernel/, reason: "loading any livepatch module taints the kernel" },
  { pattern: /loading out-of-tree module/, reason: "a patch module is not part of the kernel's own tree" },
];

/** Lines kept after an alarm: the registers and the call trace of one report. */
const reportLines = 40;

export interface LogFinding {
  readonly line: string;
  readonly reason: string;
}

/**
 * Cuts a kernel log at the marker of `step` and drops the marker lines themselves.
 * @returns the lines from that step on, or undefined when it never began.
 */
export function logSince(log: string, token: string, step: string): readonly string[] | undefined {
  const lines = log.replaceAll("\r", "").split("\n");
  const start = lines.findIndex((line) => line.includes(`${logMarker(token)}${step}`));
  if (start < 0) return undefined;
  return lines.slice(start + 1).filter((line) => line !== "" && !line.includes(logMarker(token)));
}

/** The first line that no healthy patch causes, with what it means. */
export function findAlarm(lines: readonly string[]): LogFinding | undefined {
  for (const line of lines) {
    if (ordinary.some(({ pattern }) => pattern.test(line))) continue;
    // Names in quotes are the patch's and the modules' own, whatever words they are made of.
    const words = line.includes("livepatch: ") ? line.replaceAll(/'[^']*'/g, "''") : line;
    const rule = alarms.find(({ pattern }) => pattern.test(words));
    if (rule !== undefined) return { line, reason: rule.reason };
  }
  return undefined;
}

/** What a reader of the verdict wants to see: livepatch's own lines, and each alarm with the report that follows it. */
export function relevantLines(lines: readonly string[]): readonly string[] {
  const kept: string[] = [];
  let report = 0;
  for (const line of lines) {
    if (findAlarm([line]) !== undefined) report = reportLines;
    const wanted = report > 0 || /\blivepatch: /.test(line);
    // insmod tries two system calls in turn, and the kernel then says everything twice.
    if (wanted && withoutTime(line) !== withoutTime(kept.at(-1) ?? "")) kept.push(line);
    report--;
  }
  return kept;
}

/** A line of the kernel log without its time stamp. */
export function withoutTime(line: string): string {
  return line.replace(/^\[\s*\d+\.\d+\]\s*/, "");
}

/**
 * Time from "starting patching transition" to "patching complete" in the log (klp_start_transition, klp_complete_transition).
 * @returns milliseconds, or null when one of the two is missing.
 */
export function transitionTime(lines: readonly string[], name: string): number | null {
  const at = (text: string): number | undefined => {
    const line = lines.find((candidate) => candidate.includes(`livepatch: '${name}': ${text}`));
    const seconds = /^\[\s*(\d+\.\d+)\]/.exec(line ?? "")?.[1];
    return seconds === undefined ? undefined : Number(seconds) * 1000;
  };
  const start = at("starting patching transition");
  const end = at("patching complete");
  return start === undefined || end === undefined ? null : Math.round((end - start) * 10) / 10;
}
