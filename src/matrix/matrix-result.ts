import { ExitCode } from "../support/errors.ts";
import type { CellState, CellStateName, MatrixState, PackageState } from "./matrix-state.ts";

/** The stable `--json` of `kmend matrix`. */
export interface MatrixResult {
  readonly schema: 1;
  /** `incomplete` when a cell, a package or the repository failed. */
  readonly outcome: "complete" | "incomplete";
  readonly counts: Readonly<Record<CellStateName, number>>;
  readonly cells: readonly CellState[];
  readonly packages: readonly PackageState[];
  /** Folder with the packages, the modules and the logs. */
  readonly output: string;
  /** The store that has the results. */
  readonly store: string;
  readonly repository: string | null;
  readonly milliseconds: number;
}

/** Where results of a run are. */
export type MatrixPlaces = Pick<MatrixResult, "output" | "store" | "repository">;

/** What a run has come to. */
export function resultOf(state: MatrixState, places: MatrixPlaces): MatrixResult {
  const cells = [...state.cells.values()];
  const packages = [...state.packages.values()];
  const isDone =
    cells.every((cell) => ["built", "unchanged", "refused"].includes(cell.state)) &&
    packages.every(({ state: now }) => ["packaged", "published", "empty"].includes(now));
  return {
    schema: 1,
    outcome: isDone ? "complete" : "incomplete",
    counts: state.counts(),
    cells,
    packages,
    ...places,
    milliseconds: Date.now() - state.started,
  };
}

/** The worst of what happened: something failed, a trial or a comparison failed, something is refused, nothing is changed, all is done. */
export function exitCodeOf({ outcome, counts, cells, packages }: MatrixResult): ExitCode {
  const verdicts = ["TRIAL_FAILED", "NOT_REPRODUCIBLE"];
  const isVerdict = (cell: CellState): boolean => cell.codes.some((code) => verdicts.includes(code));
  const failed = cells.filter(({ state }) => state === "failed");
  const broken =
    failed.some((cell) => !isVerdict(cell)) || counts.cancelled > 0 || packages.some(({ state }) => state === "failed");
  if (broken || (outcome === "incomplete" && failed.length === 0)) return ExitCode.failure;
  if (failed.length > 0) return ExitCode.stalled;
  if (counts.refused > 0) return ExitCode.refused;
  return counts.built === 0 ? ExitCode.unchanged : ExitCode.done;
}
