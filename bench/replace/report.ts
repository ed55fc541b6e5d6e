import { formatTable } from "../../src/cli/terminal/table.ts";
import type { UnitRecord } from "./build-unit.ts";
import type { EntryResult, Judgement } from "./judge.ts";
import type { GuestWords } from "./run-replaced.ts";
import { variants } from "./variants.ts";

export interface GuestResult {
  readonly words: GuestWords;
  readonly judgement: Judgement;
}

export interface ReplaceResult {
  readonly kernel: string;
  readonly seed: string;
  readonly stack: boolean;
  readonly records: readonly UnitRecord[];
  readonly guests: readonly GuestResult[];
}

const idleOutcome: EntryResult["outcome"] = "its module does not start here";

/** What a person reads of a run. */
export function replaceReport({ kernel, seed, stack, records, guests }: ReplaceResult): string {
  const entries = guests.flatMap(({ judgement }) => judgement.entries);
  const inForce = new Set(entries.filter(({ outcome }) => outcome === "in force").map(({ unit }) => unit));
  const functionsOf = (list: readonly UnitRecord[]): string =>
    String(list.reduce((sum, { replaced }) => sum + replaced.length, 0));
  const built = records.filter(({ outcome }) => outcome === "built");
  const differences = guests.flatMap(({ judgement }) => judgement.differences);
  const transitions = entries.flatMap((one) => one.transitionMilliseconds ?? []).sort((a, b) => a - b);
  const paces = guests.flatMap(({ judgement }) => judgement.pace?.toFixed(2) ?? []);
  const missing = [...new Set(guests.flatMap(({ words }) => words.missingPrograms))];
  const count = (outcome: UnitRecord["outcome"]): string =>
    String(records.filter((one) => one.outcome === outcome).length);
  const running = records.filter(({ unit }) => inForce.has(unit));
  const calls = guests.flatMap(({ judgement }) => judgement.called ?? []);
  const idle = new Set(entries.filter(({ outcome }) => outcome === idleOutcome).map(({ unit }) => unit)).size;
  return [
    "",
    `${kernel}, seed ${seed}${stack ? ", stacked" : ""}`,
    ...formatTable([
      ["units", String(records.length)],
      ["built", count("built"), `${functionsOf(built)} functions`],
      ["of vmlinux", String(built.filter(({ object }) => object === "vmlinux").length)],
      ["refused", count("refused")],
      ["failed", count("failed")],
      ["not of this kernel", count("unchanged")],
      ...variants.map(({ name }) => [
        `marked as ${name}`,
        String(built.reduce((sum, one) => sum + Object.values(one.variants).filter((each) => each === name).length, 0)),
      ]),
      ["left out", String(built.reduce((sum, { left }) => sum + left.length, 0))],
      ["kept though traced", String(built.reduce((sum, { kept }) => sum + kept.length, 0))],
      ["in force", String(running.length), `${functionsOf(running)} functions`],
      ...(calls.length > 0 ? [["of these called", calledOf(running, new Set(calls)), "in the round that counts"]] : []),
      ["module does not start", String(idle)],
      ["loads of modules", String(entries.filter(({ outcome }) => outcome !== "not reached").length)],
      ["runs of loads", String(guests.reduce((sum, { judgement }) => sum + judgement.runs + judgement.stirred, 0))],
      ["median transition", `${transitions[transitions.length >> 1] ?? "-"} ms`],
      ["longest transition", `${transitions.at(-1) ?? "-"} ms`],
      ["system calls at the end", paces.length === 0 ? "-" : `${paces.join(" ")} times as long`],
      ["differences", String(differences.length)],
    ]),
    ...(missing.length > 0 ? [`programs that are not installed, so less was done: ${missing.join(" ")}`] : []),
    ...codes(records),
    ...records.filter(({ outcome }) => outcome === "refused" || outcome === "failed").map(described),
    ...differences.flatMap(({ where, what, lines }) => [`${where}: ${what}`, ...lines.map((line) => `    ${line}`)]),
  ].join("\n");
}

/** How many of the replaced functions have a name that was called. */
function calledOf(records: readonly UnitRecord[], called: ReadonlySet<string>): string {
  const names = records.flatMap(({ replaced }) => replaced);
  return String(names.filter((name) => called.has(name)).length);
}

/** How many functions were left out for each code. */
function codes(records: readonly UnitRecord[]): string[] {
  const all = records.flatMap(({ left }) => left);
  const names = [...new Set(all.map(({ code }) => code))].sort();
  return names.map((code) => `left out for ${code}: ${all.filter((one) => one.code === code).length}`);
}

function described({ unit, outcome, problem }: UnitRecord): string {
  return `${outcome} ${unit}: ${problem.slice(0, 400)}`;
}
