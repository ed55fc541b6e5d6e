import type { RefusalCode } from "../../src/refusals/refusals.ts";
import type { FixOutcome, FixRecord } from "./records.ts";

/** Refusals that say: this change is not one of code alone. */
const notOnlyCode: ReadonlySet<RefusalCode> = new Set([
  "INIT_CODE",
  "INITCALL",
  "DATA_CHANGED",
  "DATA_SIZE_CHANGED",
  "PERCPU_DATA",
  "MODULE_PARAMETER",
  "LAYOUT_CHANGED",
]);

/** Built fixes of a number of fixes. */
export interface Share {
  readonly built: number;
  readonly of: number;
}

export function share(records: readonly FixRecord[]): Share {
  return { built: records.filter(({ outcome }) => outcome === "built").length, of: records.length };
}

/** Fixes that change something which the kernel runs and that are whole. */
export function effective(records: readonly FixRecord[]): FixRecord[] {
  const outcomes: readonly FixOutcome[] = ["built", "refused", "failed"];
  return records.filter(({ outcome }) => outcomes.includes(outcome));
}

/** Of the effective fixes those that change neither data layout, nor initial data, nor init code. */
export function onlyCode(records: readonly FixRecord[]): FixRecord[] {
  return effective(records).filter(({ refusals }) => !refusals.some(({ code }) => notOnlyCode.has(code)));
}

/** Fixes by refusal code, most frequent first; a fix with several codes is under each. */
export function byRefusal(records: readonly FixRecord[]): [RefusalCode, FixRecord[]][] {
  const groups = new Map<RefusalCode, FixRecord[]>();
  for (const record of records) {
    for (const code of new Set(record.refusals.map((refusal) => refusal.code))) {
      groups.set(code, [...(groups.get(code) ?? []), record]);
    }
  }
  return [...groups].sort(([a, left], [b, right]) => right.length - left.length || (a < b ? -1 : 1));
}

/** The value below which a share of the values lies; NaN for none. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
