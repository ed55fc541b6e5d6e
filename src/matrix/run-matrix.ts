import { join } from "node:path";
import type { PackageFormat } from "../package/write-package.ts";
import { writeFileAtomically } from "../support/cache.ts";
import { makeFolder } from "../support/make-folder.ts";
import type { Cell, CellSettings, PackageCells } from "./cell.ts";
import {
  buildStep,
  kernelStep,
  moduleOf,
  packageStep,
  type SignerFacts,
  signStep,
  tryStep,
  verifyStep,
} from "./cell-steps.ts";
import type { Engine, StepEnd, StepProblem } from "./engine/engine.ts";
import type { KernelOffer } from "./kernel-patterns.ts";
import { type CellState, isEnded, MatrixState } from "./matrix-state.ts";
import type { Publisher } from "./publisher.ts";
import type { BuildStep, KernelFacts, Step, StepRecords, StoredModule } from "./step.ts";
import { getObject } from "./store/records.ts";
import type { Store } from "./store/store.ts";

/** What a run is made of. */
export interface MatrixRequest {
  readonly packages: readonly PackageCells[];
  readonly offer: KernelOffer;
  readonly settings: CellSettings;
  readonly format: PackageFormat;
  readonly tries: boolean;
  readonly signer?: SignerFacts | undefined;
  readonly engine: Engine;
  readonly store: Store;
  /** Folder that gets packages, modules and logs. */
  readonly output: string;
  readonly publisher?: Publisher | undefined;
  readonly signal: AbortSignal;
}

/** A step that has no result; its cell shows why. */
class Stopped extends Error {}

/** What became of a cell for its package. */
type CellEnd =
  | { readonly kind: "module"; readonly cell: Cell; readonly module: StoredModule }
  | { readonly kind: "none" }
  | { readonly kind: "open" };

/**
 * Takes the cells of all packages from step to step. What a step came to is in the store, so that a run that was killed goes on where it was; this class keeps nothing
 * but what it shows.
 */
export class MatrixRun {
  readonly state = new MatrixState();
  readonly #request: MatrixRequest;
  readonly #kernels = new Map<string, Promise<StepEnd>>();
  readonly #cancels = new Map<string, AbortController>();

  constructor(request: MatrixRequest) {
    this.#request = request;
    for (const { id, cells, choices, epoch: since } of request.packages) {
      for (const cell of cells) this.state.cells.set(cell.id, newCell(id, cell));
      const { severity = null } = choices;
      const cves = [...new Set(cells.filter(({ known }) => known === undefined).flatMap((cell) => cell.cves))];
      const kernels = cells.map(({ kernel }) => kernel);
      const nothing = { file: null, sha256: null, problem: null };
      this.state.packages.set(id, { id, state: "waiting", kernels, cves, severity, since, ...nothing });
    }
  }

  /** @throws what ends the engine. */
  async run(): Promise<void> {
    await Promise.all(this.#request.packages.map((one) => this.#package(one)));
    await this.#request.publisher?.finished();
  }

  /** Begins a cell that failed or was cancelled once more, with its package. @returns false for one that is in no such state. */
  retry(id: string): boolean {
    const owner = this.#request.packages.find(({ cells }) => cells.some((cell) => cell.id === id));
    const found = this.state.cells.get(id);
    if (owner === undefined || (found?.state !== "failed" && found?.state !== "cancelled")) return false;
    this.#kernels.delete(found.kernel);
    void this.#package(owner, id).catch(() => {});
    return true;
  }

  /** Ends a cell that has not ended. @returns false for one that has. */
  cancel(id: string): boolean {
    const found = this.state.cells.get(id);
    if (found === undefined || isEnded(found)) return false;
    this.#cancels.get(id)?.abort();
    return true;
  }

  readonly #ends = new Map<string, CellEnd>();

  async #package(one: PackageCells, only?: string): Promise<void> {
    const { state } = this;
    const begun = one.cells.filter(({ id }) => only === undefined || id === only);
    await Promise.all(begun.map(async (cell) => void this.#ends.set(cell.id, await this.#cell(one, cell))));
    const ends = one.cells.map(({ id }) => this.#ends.get(id));
    if (ends.some((end) => end === undefined)) return;
    if (ends.some((end) => end?.kind === "open")) return state.package(one.id, { state: "held" });
    const parts = ends.flatMap((end) => (end?.kind === "module" ? [end] : []));
    if (parts.length === 0) return state.package(one.id, { state: "empty", kernels: [] });
    const step = packageStep(one, parts, this.#request.format);
    const end = await this.#request.engine.run({
      ...{ step, priority: one.priority, onEvent: () => {}, signal: new AbortController().signal },
    });
    if (end.outcome !== "done") {
      return state.package(one.id, { state: "failed", problem: end.outcome === "failed" ? end.problem : null });
    }
    await this.#packaged(one, end.record as StepRecords["package"], parts);
  }

  async #packaged(
    { id }: PackageCells,
    { file, sha256 }: StepRecords["package"],
    parts: readonly { readonly module: StoredModule }[],
  ): Promise<void> {
    const { store, output, publisher } = this.#request;
    const path = join(output, "packages", file);
    await makeFolder(join(output, "packages"));
    await writeFileAtomically(path, await getObject(store, sha256));
    const kernels = parts.map(({ module }) => module.release);
    this.state.package(id, { state: "packaged", file, sha256, kernels, problem: null });
    const problem = await publisher?.publish(path);
    if (publisher !== undefined) {
      this.state.package(id, problem === undefined ? { state: "published" } : { state: "failed", problem });
    }
  }

  async #cell(one: PackageCells, cell: Cell): Promise<CellEnd> {
    const { state } = this;
    const { id } = cell;
    const cancel = new AbortController();
    this.#cancels.set(id, cancel);
    try {
      if (cell.known !== undefined) {
        const { outcome, refusals } = cell.known;
        state.cell(id, { state: outcome, refusals, codes: [...new Set(refusals.map(({ code }) => code))] });
        return { kind: "none" };
      }
      state.cell(id, { state: "waiting", problem: null, codes: [], attempts: 0 });
      const walk = new CellWalk(state, this.#request, { cell, priority: one.priority, signal: cancel.signal });
      const facts = await walk.facts(this.#kernels);
      const module = await walk.module(buildStep(cell, facts, this.#request.settings));
      if (module === undefined) return { kind: "none" };
      await this.#writeModule(one, module);
      return { kind: "module", cell, module };
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      const { trial, problem } = state.cells.get(id) as CellState;
      if (problem !== null) await this.#writeLog(id, problem);
      return { kind: trial === "failed" ? "none" : "open" };
    } finally {
      this.#cancels.delete(id);
    }
  }

  async #writeModule({ id }: PackageCells, { file, release, sha256 }: StoredModule): Promise<void> {
    const { store, output } = this.#request;
    await writeFileAtomically(join(output, "modules", id, release, file), await getObject(store, sha256));
  }

  async #writeLog(id: string, { code, message, why, log }: StepProblem): Promise<void> {
    const text = [`${code}: ${message}`, why ?? "", log].filter((part) => part !== "").join("\n");
    await writeFileAtomically(join(this.#request.output, "logs", `${id}.log`), `${text}\n`);
  }
}

function newCell(owner: string, { id, kernel, patches }: Cell): CellState {
  const unknown = { step: null, key: null, module: null, trial: null, report: null, problem: null, worker: null };
  const nothing = { codes: [], refusals: [], attempts: 0, verified: false, milliseconds: {} };
  const names = patches.map(({ name }) => name);
  return { id, package: owner, kernel, patches: names, state: "waiting", ...unknown, ...nothing };
}

interface WalkRequest {
  readonly cell: Cell;
  readonly priority: number;
  readonly signal: AbortSignal;
}

/** One cell on its way through the steps, and what is shown of it. */
class CellWalk {
  readonly #state: MatrixState;
  readonly #request: MatrixRequest;
  readonly #walk: WalkRequest;

  constructor(state: MatrixState, request: MatrixRequest, walk: WalkRequest) {
    this.#state = state;
    this.#request = request;
    this.#walk = walk;
  }

  /** Facts of the kernel, which all its cells share. */
  async facts(kernels: Map<string, Promise<StepEnd>>): Promise<KernelFacts> {
    const { cell, priority, signal } = this.#walk;
    const { offer, settings, engine } = this.#request;
    const found = offer.kernels.find(({ release }) => release === cell.kernel);
    const packageVersion = found?.packageVersion ?? "";
    let end = kernels.get(cell.kernel);
    if (end === undefined) {
      const step = kernelStep({ release: cell.kernel, packageVersion }, settings);
      end = engine.run({ step, priority, onEvent: () => {}, signal: new AbortController().signal });
      kernels.set(cell.kernel, end);
    }
    const aborted = new Promise<StepEnd>((resolve) => {
      signal.addEventListener("abort", () => resolve({ outcome: "cancelled" }));
      if (signal.aborted) resolve({ outcome: "cancelled" });
    });
    return this.#finished("kernel", await Promise.race([end, aborted])) as KernelFacts;
  }

  /** The module as it is packaged: built, verified, tried and signed, as far as that is wanted; undefined for a cell that has none. */
  async module(build: BuildStep): Promise<StoredModule | undefined> {
    const { tries, settings, signer } = this.#request;
    const { id } = this.#walk.cell;
    this.#state.cell(id, { key: build.key });
    const [record] = await Promise.all([
      this.#step(build) as Promise<StepRecords["build"]>,
      settings.twice ? this.#step(verifyStep(build)) : undefined,
    ]);
    const module = moduleOf(record);
    const { refusals, report } = record;
    const codes = [...new Set(refusals.map(({ code }) => code))];
    const about = { refusals, report, codes, verified: settings.twice };
    if (module === undefined || record.module === null) {
      this.#state.cell(id, { ...about, state: record.outcome });
      return undefined;
    }
    const { file, sha256, bytes } = record.module;
    this.#state.cell(id, { ...about, module: { file, sha256, bytes, signed: false } });
    if (tries) {
      await this.#step(tryStep(build, module));
      this.#state.cell(id, { trial: "passed" });
    }
    let last = module;
    if (signer !== undefined) {
      last = ((await this.#step(signStep(module, signer))) as StepRecords["sign"]).module;
      this.#state.cell(id, { module: { file, sha256: last.sha256, bytes, signed: true } });
    }
    this.#state.cell(id, { state: "built" });
    return last;
  }

  async #step(step: Step): Promise<unknown> {
    const { cell, priority, signal } = this.#walk;
    const end = await this.#request.engine.run({
      ...{ step, priority, signal },
      onEvent: (event) => {
        if (event.kind === "started") {
          const { attempts } = this.#state.cells.get(cell.id) as CellState;
          const first = attempts === 0 ? 1 : attempts;
          this.#state.cell(cell.id, { state: "running", step: step.kind, worker: event.worker, attempts: first });
        } else {
          const { attempts, problem } = event;
          this.#state.cell(cell.id, { state: "retrying", step: step.kind, attempts: attempts + 1, problem });
        }
      },
    });
    return this.#finished(step.kind, end);
  }

  #finished(kind: Step["kind"], end: StepEnd): unknown {
    const { id } = this.#walk.cell;
    if (end.outcome === "cancelled") return this.#cancelled();
    if (end.outcome === "failed") {
      const { problem, attempts } = end;
      const trial = problem.code === "TRIAL_FAILED" ? ("failed" as const) : null;
      this.#state.cell(id, { state: "failed", step: kind, codes: [problem.code], problem, attempts, trial });
      throw new Stopped(problem.code);
    }
    const { milliseconds } = this.#state.cells.get(id) as CellState;
    this.#state.cell(id, { milliseconds: { ...milliseconds, [kind]: end.milliseconds }, problem: null });
    return end.record;
  }

  #cancelled(): never {
    this.#state.cell(this.#walk.cell.id, { state: "cancelled", step: null });
    throw new Stopped("cancelled");
  }
}
