import { randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { DelayedError, type Job, Queue, UnrecoverableError, WaitingError, Worker } from "bullmq";
import { version } from "../../support/version.ts";
import { isFinal, problemOf } from "../engine/engine.ts";
import type { Step } from "../step.ts";
import { runStep } from "../steps/run-step.ts";
import type { StepServices } from "../steps/step-services.ts";
import { jobIdOf, type Lane, parseLane } from "./lanes.ts";
import { type QueueConnection, queuePrefix } from "./queue-connection.ts";
import type { JobReturn } from "./queue-engine.ts";
import { WorkerMetrics } from "./worker-metrics.ts";
import { lanesKey, removeWorker, reportWorker } from "./worker-registry.ts";

/** What a worker is started with. */
export interface WorkerOptions {
  readonly connection: QueueConnection;
  readonly services: StepServices;
  /** Cells at once. */
  readonly jobs: number;
  /** What this machine can do. */
  readonly can: readonly string[];
  /** End after so many milliseconds without a cell; undefined never ends. */
  readonly idleMilliseconds?: number | undefined;
  readonly note: (text: string) => void;
  readonly metrics?: WorkerMetrics | undefined;
  /** Carries out a step; default {@link runStep}. */
  readonly carryOut?: typeof runStep | undefined;
  /** Ends the worker: what it has begun goes back to the queue. */
  readonly signal: AbortSignal;
  /** How long a worker may be silent before its cells are given to others, in milliseconds; default a minute. */
  readonly lockMilliseconds?: number | undefined;
}

/** How often lanes are looked for, in milliseconds. */
const lookMilliseconds = 250;

/** How often a worker reports, in milliseconds. */
const reportMilliseconds = 10_000;

/** A cell may lose so many workers before it is given up: one of them may have been killed for what another cell took of its memory. */
const maxStalledCount = 5;

/** The second build of a cell waits so long for another worker, in milliseconds, and then again. */
const otherWorkerMilliseconds = 2000;

/** What a lane has to be done. */
interface LaneLoad {
  readonly lane: Lane;
  readonly waiting: number;
  /** Retried later, or in the hands of a worker that may be dead. */
  readonly later: number;
}

/**
 * Takes cells from the queue until it is told to end. Each slot carries out one at a time, and stays with a lane while that has cells.
 * @returns how many steps it has done.
 */
export async function runWorker(options: WorkerOptions): Promise<number> {
  const worker = new QueueWorker(options);
  return worker.run();
}

class QueueWorker {
  readonly #options: WorkerOptions;
  readonly #id = `${hostname()}-${process.pid}-${randomBytes(3).toString("hex")}`;
  readonly #metrics: WorkerMetrics;
  readonly #queues = new Map<string, Queue<Step, JobReturn>>();
  /** Lanes of slots, by their name. */
  readonly #attached = new Map<string, number>();
  /** Numbers of lanes whose kernels this machine has worked on. */
  readonly #known = new Set<number>();
  #loads: readonly LaneLoad[] = [];
  #lastWork = Date.now();
  #busy = 0;
  #isEnding = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? new WorkerMetrics();
  }

  async run(): Promise<number> {
    const { connection, jobs, can, signal, services } = this.#options;
    const entry = { id: this.#id, host: hostname(), version: version(), store: services.store.id, can, jobs };
    // Each wait and each step listens.
    setMaxListeners(0, signal);
    await reportWorker(connection.client, entry);
    const reporting = setInterval(
      () => void reportWorker(connection.client, entry).catch(() => {}),
      reportMilliseconds,
    );
    signal.addEventListener("abort", () => {
      this.#isEnding = true;
    });
    if (signal.aborted) this.#isEnding = true;
    try {
      await Promise.all([this.#look(), ...Array.from({ length: jobs }, () => this.#slot())]);
    } finally {
      clearInterval(reporting);
      await Promise.race([removeWorker(connection.client, this.#id), delay(2000)]).catch(() => {});
      for (const queue of this.#queues.values()) await Promise.race([queue.close(), delay(1000)]).catch(() => {});
      connection.client.disconnect();
    }
    return this.#metrics.done;
  }

  /** Keeps the loads of lanes current. */
  async #look(): Promise<void> {
    const { connection, can, services, idleMilliseconds } = this.#options;
    while (!this.#isEnding) {
      try {
        const names = await connection.client.smembers(lanesKey);
        const lanes = names.flatMap((name) => parseLane(name) ?? []);
        const own = lanes.filter(
          (lane) => lane.version === version() && services.store.id.startsWith(lane.store) && isAble(can, lane.needs),
        );
        // A worker that has enough to do looks for nothing else.
        if (this.#busy < this.#options.jobs) this.#loads = await Promise.all(own.map((lane) => this.#loadOf(lane)));
      } catch {
        // The connection tells, and comes back.
      }
      if (this.#busy > 0 || this.#loads.some(({ waiting, later }) => waiting + later > 0)) this.#lastWork = Date.now();
      if (idleMilliseconds !== undefined && Date.now() - this.#lastWork > idleMilliseconds) this.#isEnding = true;
      await this.#pause();
    }
  }

  async #loadOf(lane: Lane): Promise<LaneLoad> {
    const counts = await this.#queue(lane).getJobCounts("waiting", "prioritized", "delayed", "active");
    const count = (name: string): number => counts[name] ?? 0;
    return { lane, waiting: count("waiting") + count("prioritized"), later: count("delayed") + count("active") };
  }

  #queue({ name }: Lane): Queue<Step, JobReturn> {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new Queue<Step, JobReturn>(name, { connection: this.#options.connection.client, prefix: queuePrefix });
      queue.on("error", () => {});
      this.#queues.set(name, queue);
    }
    return queue;
  }

  async #pause(): Promise<void> {
    await delay(lookMilliseconds, undefined, { signal: this.#options.signal }).catch(() => {});
  }

  async #slot(): Promise<void> {
    while (!this.#isEnding) {
      const lane = this.#choose();
      if (lane === undefined) await this.#pause();
      else await this.#stay(lane);
    }
  }

  /** The lane that a free slot goes to: one with kernels that are prepared here, else one that nobody is at; one that has nothing but what others have comes last. */
  #choose(): Lane | undefined {
    const free = this.#loads.map((load) => ({ ...load, here: this.#attached.get(load.lane.name) ?? 0 }));
    const waiting = free.filter(({ waiting: count, here }) => count > here);
    const rank = ({ lane, later, here }: (typeof free)[number]): number =>
      (this.#known.has(lane.number) ? 0 : 2) + (later > 0 ? 1 : 0) + 4 * here;
    const best = waiting.sort((a, b) => rank(a) - rank(b) || b.waiting - a.waiting)[0];
    // BullMQ's worker of a lane also takes back what a dead worker has, and wakes what is delayed.
    return (best ?? free.find(({ later, here }) => later > 0 && here === 0))?.lane;
  }

  /** Works for a lane until it has nothing, or nothing yet while another has. */
  async #stay(lane: Lane): Promise<void> {
    const { connection, lockMilliseconds = 60_000 } = this.#options;
    const { name } = lane;
    this.#attached.set(name, (this.#attached.get(name) ?? 0) + 1);
    let isBusy = false;
    let since = Date.now();
    const worker = new Worker<Step, JobReturn>(
      name,
      async (job, token, cancelled) => {
        isBusy = true;
        this.#busy++;
        this.#known.add(lane.number);
        try {
          return await this.#process(job, token ?? "", cancelled);
        } finally {
          isBusy = false;
          this.#busy--;
          since = Date.now();
        }
      },
      {
        ...{ connection: connection.client, prefix: queuePrefix, name: this.#id, concurrency: 1, maxStalledCount },
        ...{ lockDuration: lockMilliseconds, stalledInterval: lockMilliseconds / 2, drainDelay: 1 },
        metrics: { maxDataPoints: 60 * 24 },
      },
    );
    worker.on("error", () => {});
    try {
      while (!this.#isEnding) {
        await this.#pause();
        if (isBusy || Date.now() - since < 2 * lookMilliseconds) continue;
        const load = this.#loads.find((one) => one.lane.name === name);
        if (load === undefined || load.waiting + load.later === 0) break;
        const other = load.waiting === 0 ? this.#choose() : undefined;
        if (other !== undefined && other.name !== name) break;
      }
    } finally {
      this.#attached.set(name, (this.#attached.get(name) ?? 1) - 1);
      // One that waits for a queue which is gone would wait forever.
      await Promise.race([
        worker.close(),
        this.#isEnding ? delay(10_000, undefined, { ref: false }) : new Promise(() => {}),
      ]);
    }
  }

  async #process(job: Job<Step, JobReturn>, token: string, cancelled: AbortSignal | undefined): Promise<JobReturn> {
    const { services, signal, note } = this.#options;
    const step = job.data;
    if (jobIdOf(step) !== job.id) throw new UnrecoverableError(JSON.stringify({ ...wrongJob, log: "" }));
    await this.#requireOther(step, job, token);
    const started = performance.now();
    try {
      const ends = AbortSignal.any([signal, ...(cancelled === undefined ? [] : [cancelled])]);
      await (this.#options.carryOut ?? runStep)(step, { ...services, signal: ends });
      const milliseconds = Math.round(performance.now() - started);
      this.#metrics.count(step.kind, "done", milliseconds);
      return { milliseconds, worker: this.#id };
    } catch (error) {
      if (signal.aborted) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      const problem = problemOf(error);
      this.#metrics.count(step.kind, problem.code, Math.round(performance.now() - started));
      note(`${step.kind} of ${describe(step)}: ${problem.code}: ${problem.message}`);
      const text = JSON.stringify({ ...problem, attempts: job.attemptsMade + 1 });
      throw isFinal(error) ? new UnrecoverableError(text) : new Error(text);
    }
  }

  /** Both builds of a cell that is built twice are made by different workers. */
  async #requireOther(step: Step, job: Job<Step, JobReturn>, token: string): Promise<void> {
    if ((step.kind !== "build" && step.kind !== "verify") || !step.twice) return;
    const { client } = this.#options.connection;
    const key = `${queuePrefix}:builders:${step.key}`;
    const other = await client.hget(key, step.kind === "build" ? "verify" : "build");
    if (other === this.#id) {
      await job.moveToDelayed(Date.now() + otherWorkerMilliseconds, token);
      throw new DelayedError();
    }
    await client
      .multi()
      .hset(key, step.kind, this.#id)
      .expire(key, 24 * 3600)
      .exec();
  }
}

const wrongJob = { code: "QUEUE_OTHER_DATA", message: "the job is not one of kmend's" };

function isAble(can: readonly string[], needs: readonly string[]): boolean {
  return needs.every((need) => can.includes(need));
}

function describe(step: Step): string {
  if (step.kind === "kernel") return step.release;
  if (step.kind === "package") return step.choices.name ?? "a package";
  return "kernel" in step
    ? `${typeof step.module === "string" ? step.module : step.module.file} for ${step.kernel.release}`
    : step.module.file;
}
