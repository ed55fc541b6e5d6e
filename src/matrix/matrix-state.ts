import type { StepProblem } from "./engine/engine.ts";
import type { BuildRecord, Step } from "./step.ts";

/** `refused` and `unchanged` are results, as `built` is; `failed` tells of the machine, or of a trial. */
const cellStates = [
  ...(["waiting", "running", "retrying"] as const),
  ...(["built", "unchanged", "refused", "failed", "cancelled"] as const),
] as const;
export type CellStateName = (typeof cellStates)[number];

/** A cell as `--json`, the page and the metrics show it. */
export interface CellState {
  readonly id: string;
  readonly package: string;
  readonly kernel: string;
  readonly patches: readonly string[];
  readonly state: CellStateName;
  /** What is done for it, or was when it ended. */
  readonly step: Step["kind"] | null;
  /** Digest by which its result is found; null until its kernel is known. */
  readonly key: string | null;
  /** Codes of refusals, or of the failure. */
  readonly codes: readonly string[];
  readonly refusals: BuildRecord["refusals"];
  readonly attempts: number;
  readonly module: {
    readonly file: string;
    readonly sha256: string;
    readonly bytes: number;
    readonly signed: boolean;
  } | null;
  readonly trial: "passed" | "failed" | null;
  readonly verified: boolean;
  /** Digest of the review report in the store. */
  readonly report: string | null;
  readonly problem: StepProblem | null;
  readonly worker: string | null;
  readonly milliseconds: Readonly<Partial<Record<Step["kind"], number>>>;
}

/** A package as `--json` and the page show it. `held` waits for a cell that failed; `empty` has no module. */
export interface PackageState {
  readonly id: string;
  readonly state: "waiting" | "packaged" | "published" | "held" | "empty" | "failed";
  readonly file: string | null;
  readonly sha256: string | null;
  readonly kernels: readonly string[];
  readonly cves: readonly string[];
  readonly severity: string | null;
  /** When the newest of its patches was written, in seconds since 1970. */
  readonly since: number;
  readonly problem: StepProblem | null;
}

/** All that is known of a run; whoever shows it is told of each change. */
export class MatrixState {
  readonly cells = new Map<string, CellState>();
  readonly packages = new Map<string, PackageState>();
  readonly started = Date.now();
  readonly #listeners = new Set<() => void>();

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  cell(id: string, change: Partial<CellState>): CellState {
    const next = { ...(this.cells.get(id) as CellState), ...change };
    this.cells.set(id, next);
    this.#tell();
    return next;
  }

  package(id: string, change: Partial<PackageState>): void {
    this.packages.set(id, { ...(this.packages.get(id) as PackageState), ...change });
    this.#tell();
  }

  /** Cells by state. */
  counts(): Readonly<Record<CellStateName, number>> {
    const counts = Object.fromEntries(cellStates.map((name) => [name, 0])) as Record<CellStateName, number>;
    for (const { state } of this.cells.values()) counts[state]++;
    return counts;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** True for a cell for which nothing more is done by itself. */
export function isEnded({ state }: Pick<CellState, "state">): boolean {
  return state !== "waiting" && state !== "running" && state !== "retrying";
}
/** Milliseconds until all cells have ended, as far as those that have tell; null before the first one was built. */
export function remainingMilliseconds(state: MatrixState, now = Date.now()): number | null {
  const cells = [...state.cells.values()];
  const built = cells.filter((cell) => isEnded(cell) && Object.keys(cell.milliseconds).length > 0).length;
  const open = cells.filter((cell) => !isEnded(cell)).length;
  if (open === 0) return 0;
  return built === 0 ? null : Math.round(((now - state.started) / built) * open);
}
