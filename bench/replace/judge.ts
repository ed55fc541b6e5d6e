import { findAlarm, transitionTime, withoutTime } from "../../src/vm/guest-log.ts";
import type { Frame } from "../../src/vm/serial-frames.ts";
import type { Load } from "./loads.ts";
import type { GuestWords } from "./run-replaced.ts";
import { grownSlabs } from "./slabs.ts";

/** Something that a guest with replaced functions did, and the one without did not. */
export interface Difference {
  /** A unit, a load with its round, or what the whole guest did. */
  readonly where: string;
  readonly what: string;
  /** Lines of the log, or of what the load printed. */
  readonly lines: readonly string[];
}

/** What became of one module in the guest. */
export interface EntryResult {
  readonly unit: string;
  readonly outcome: "in force" | "its module does not start here" | "failed" | "not reached";
  readonly transitionMilliseconds: number | null;
}

export interface Judgement {
  readonly entries: readonly EntryResult[];
  readonly differences: readonly Difference[];
  /** How often a load ran to its end after the modules were loaded. */
  readonly runs: number;
  /** The same for the loads that ran while they were loaded. */
  readonly stirred: number;
  /** How much longer a bare loop of system calls took at the end than before the modules; undefined when one of the two is missing. */
  readonly pace: number | undefined;
  /** Names of replacing functions that were called in the round that counts; undefined when there was none. */
  readonly called: readonly string[] | undefined;
}

/** Lines of the log that are kept for one alarm. */
const alarmLines = 45;

/** Compares a guest with the one that had no modules. */
export function judgeReplaced(
  plain: GuestWords,
  replaced: GuestWords,
  modules: readonly string[],
  loads: readonly Load[],
  stack: boolean,
): Judgement {
  const frames = byName(replaced);
  const entries = replaced.units.map((unit, at) => judgeEntry(unit, modules[at] ?? "", at, frames));
  const differences: Difference[] = [];
  const last = replaced.frames.at(-1)?.name ?? "nothing";
  if (!frames.has("done")) {
    const lines = replaced.console.replaceAll("\r", "").split("\n").filter(Boolean).slice(-80);
    differences.push({ where: "guest", what: `${replaced.end}; its last word was ${last}`, lines });
  }
  for (const [at, { unit, outcome }] of entries.entries()) {
    if (outcome !== "failed") continue;
    const names = stack ? ["load", "patched"] : ["load", "patched", "disabled", "unload"];
    const steps = names.map((name) => frames.get(`${name}.${at}`));
    const bad = steps.findIndex((frame) => frame?.status !== 0);
    differences.push({ where: unit, what: `${names[bad] ?? "end"} failed`, lines: linesOf(steps[bad]?.text ?? "") });
  }
  const known = new Set(plain.frames.filter(isLog).flatMap(({ text }) => alarmsIn(text, loads).map(({ key }) => key)));
  for (const frame of replaced.frames.filter(isLog)) {
    for (const { key, lines } of alarmsIn(frame.text, loads)) {
      if (known.has(key)) continue;
      known.add(key);
      differences.push({ where: nameOf(frame.name, replaced), what: key, lines });
    }
  }
  const runs = replaced.frames.filter(({ name }) => name.startsWith("run."));
  for (const frame of runs) {
    const load = Number(frame.name.split(".")[2]);
    const said = plain.frames.filter(({ name }) => new RegExp(`^run\\.\\d+\\.${load}$`).test(name));
    if (said.some(({ status, text }) => status === frame.status && text === frame.text)) continue;
    const lines = newLines(frame, said);
    if (lines.length === 0) continue;
    differences.push({ where: nameOf(frame.name, replaced), what: "the load found another result", lines });
  }
  const calm = new Set(linesOf(byName(plain).get("stir")?.text ?? ""));
  const stirred = linesOf(frames.get("stir")?.text ?? "");
  for (const line of new Set(stirred.filter((one) => !calm.has(one))))
    differences.push({
      where: "stir",
      what: `load ${replaced.loads[Number(line.split(" ")[0])]} found another result`,
      lines: [line],
    });
  const slabs = grownSlabs(slabText(plain), slabText(replaced));
  if (slabs.length > 0) differences.push({ where: "guest", what: "memory of the kernel has grown", lines: slabs });
  const called = frames.get("called");
  return {
    ...{ entries, differences, runs: runs.length, stirred: stirred.length },
    pace: pace(frames),
    called: called === undefined ? undefined : linesOf(called.text),
  };
}

/** Results that no run without modules had; each line of a load stands for itself, so that what differs among these runs differs here too. */
function newLines(frame: Frame, said: readonly Frame[]): string[] {
  const before = new Set(said.flatMap(({ text }) => linesOf(text)));
  const lines = linesOf(frame.text).filter((line) => !before.has(line));
  const missing = said.map(({ text }) => linesOf(text).length).sort((a, b) => a - b)[0] ?? 0;
  const count = linesOf(frame.text).length;
  if (count < missing) lines.push(`${count} lines in place of ${missing}`);
  if (!said.some(({ status }) => status === frame.status)) lines.push(`exit status ${frame.status}`);
  return lines;
}

function judgeEntry(unit: string, module: string, at: number, frames: ReadonlyMap<string, Frame>): EntryResult {
  const status = (name: string): number | undefined => frames.get(`${name}.${at}`)?.status;
  const transitionMilliseconds = transitionTime(linesOf(frames.get(`log.${at}`)?.text ?? ""), module);
  const result = (outcome: EntryResult["outcome"]): EntryResult => ({ unit, outcome, transitionMilliseconds });
  if (!frames.has(`end.${at}`)) return result(frames.has(`start.${at}`) ? "failed" : "not reached");
  if (["load", "patched"].some((name) => status(name) !== 0)) return result("failed");
  if (["disabled", "unload"].some((name) => (status(name) ?? 0) !== 0)) return result("failed");
  const own = [...frames.values()].filter(({ name }) => name.startsWith(`target.${at}.`));
  return result(own.some((frame) => frame.status !== 0) ? "its module does not start here" : "in force");
}

/** Alarms in a log, each by its first line without numbers, so that the same one in another guest is the same. */
export function alarmsIn(text: string, loads: readonly Load[]): { readonly key: string; readonly lines: string[] }[] {
  const lines = withoutProvoked(linesOf(text), loads);
  const found: { key: string; lines: string[] }[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    const alarm = findAlarm([line]);
    if (alarm === undefined) continue;
    const plain = withoutTime(line).replaceAll(/\b(?:0x)?[0-9a-f]*\d[0-9a-f]*\b/g, "N");
    found.push({ key: `${alarm.reason}: ${plain}`, lines: lines.slice(at, at + alarmLines) });
    // One report has several alarming lines.
    at += alarmLines;
  }
  return found;
}

function withoutProvoked(lines: readonly string[], loads: readonly Load[]): string[] {
  const kept: string[] = [];
  let until: RegExp | undefined;
  for (const line of lines) {
    const [, to] = loads.map(({ provokes }) => provokes).find((pair) => pair?.[0].test(line)) ?? [];
    until ??= to;
    if (until === undefined) kept.push(line);
    else if (until.test(line)) until = undefined;
  }
  return kept;
}

/** The fastest turns count: others were held up by something else. */
function pace(frames: ReadonlyMap<string, Frame>): number | undefined {
  const [before, after] = ["before", "after"].map((when) => {
    const turns = linesOf(frames.get(`pace.${when}`)?.text ?? "").map(Number);
    return turns.length === 0 ? undefined : Math.min(...turns);
  });
  return before === undefined || after === undefined || before === 0 ? undefined : after / before;
}

function nameOf(frame: string, { units, loads }: GuestWords): string {
  const [, first, second] = frame.split(".");
  if (second !== undefined) return `${loads[Number(second)]}, round ${Number(first) + 1}`;
  return units[Number(first)] ?? frame;
}

const isLog = ({ name }: Frame): boolean => name.startsWith("log.");

function byName({ frames }: GuestWords): ReadonlyMap<string, Frame> {
  return new Map(frames.map((frame) => [frame.name, frame]));
}

function slabText(words: GuestWords): readonly [string, string] {
  const frames = byName(words);
  return [frames.get("slabs.before")?.text ?? "", frames.get("slabs.after")?.text ?? ""];
}

function linesOf(text: string): string[] {
  return text.replaceAll("\r", "").split("\n").filter(Boolean);
}
