import { moduleName } from "../../src/support/module-file-name.ts";
import { findAlarm, relevantLines, transitionTime, withoutTime } from "../../src/vm/guest-log.ts";
import type { Frame } from "../../src/vm/serial-frames.ts";
import type { TryRecord } from "./records.ts";
import type { Candidate } from "./try-fixes.ts";
import type { SeriesRun } from "./try-series.ts";

/** Lines of the console that are kept of a guest that died. */
const tailLines = 60;

/** Steps of one entry, and what it means when one fails. */
const steps: readonly (readonly [frame: string, problem: string])[] = [
  ["load", "the patch module could not be loaded"],
  ["patched", "the transition did not end"],
  ["disabled", "the transition back did not end"],
  ["unload", "the patch module could not be unloaded"],
];

/**
 * Judges the entries of one boot. Those after a guest's death have no record, nor has one whose own target modules were being loaded when the guest died:
 * `killedByTargets`.
 */
export function judgeSeries(
  batch: readonly Candidate[],
  run: SeriesRun,
): { readonly records: readonly TryRecord[]; readonly killedByTargets: string | undefined } {
  const frames = new Map(run.frames.map((frame) => [frame.name, frame]));
  const records: TryRecord[] = [];
  for (const [number, candidate] of batch.entries()) {
    if (!frames.has(`start.${number}`)) break;
    if (!frames.has(`targets.${number}`)) return { records, killedByTargets: candidate.id };
    records.push(judgeEntry(candidate, number, frames, run));
    if (!frames.has(`end.${number}`)) break;
  }
  return { records: frames.has("done") ? records : blameLast(records), killedByTargets: undefined };
}

/** The last of a guest's records failed: for a guest that died after it, and not of what it did next. */
export function blameLast(records: readonly TryRecord[]): readonly TryRecord[] {
  return records.map((record, index) =>
    index < records.length - 1
      ? record
      : { ...record, verdict: "failed", failure: record.failure ?? "the guest died after the module was unloaded" },
  );
}

function judgeEntry(
  candidate: Candidate,
  number: number,
  frames: ReadonlyMap<string, Frame>,
  run: SeriesRun,
): TryRecord {
  const frame = (name: string): Frame | undefined => frames.get(`${name}.${number}`);
  const died = frame("end") === undefined;
  const log = (died ? run.console : (frame("log")?.text ?? "")).replaceAll("\r", "").split("\n").filter(Boolean);
  const alarm = died ? undefined : findAlarm(log);
  const failed = steps.find(([name]) => frame(name)?.status !== 0);
  let failure: string | null = null;
  if (died) failure = run.end;
  else if (failed !== undefined) failure = `${failed[1]}: ${frame(failed[0])?.text.trim() ?? "no answer"}`;
  else if (alarm !== undefined) failure = `${alarm.reason}: ${withoutTime(alarm.line)}`;
  return {
    id: candidate.id,
    verdict: failure === null ? "passed" : "failed",
    failure,
    targets: Object.fromEntries(
      candidate.targets.map((file) => [moduleName(file), isLoaded(file, number, frames, run)]),
    ),
    transitionMilliseconds: transitionTime(log, candidate.name),
    kernelLog:
      failure === null ? [] : died && findAlarm(log) === undefined ? log.slice(-tailLines) : relevantLines(log),
  };
}

/** A module that an earlier entry of the same boot loaded has no frame of its own. */
function isLoaded(file: string, number: number, frames: ReadonlyMap<string, Frame>, { files }: SeriesRun): boolean {
  const at = files.indexOf(file);
  return Array.from({ length: number + 1 }, (_, entry) => frames.get(`target.${entry}.${at}`)).some(
    (frame) => frame?.status === 0,
  );
}
