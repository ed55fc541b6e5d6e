import { type Job, Queue, QueueEvents } from "bullmq";
import type { Redis } from "ioredis";
import { version } from "../../support/version.ts";
import type { Engine, RetryPolicy, StepEnd, StepProblem, StepRequest } from "../engine/engine.ts";
import type { Step, StepRecord } from "../step.ts";
import { readRecord } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { jobIdOf, type Lane, laneOf } from "./lanes.ts";
import { type QueueConnection, queuePrefix } from "./queue-connection.ts";
import { queueError } from "./queue-error.ts";
import { lanesKey } from "./worker-registry.ts";

/** What a worker returns for a job; the record is in the store. */
export interface JobReturn {
  readonly milliseconds: number;
  readonly worker: string;
}

/** What the engine works with. */
export interface QueueEngineOptions {
  readonly connection: QueueConnection;
  readonly store: Store;
  readonly retries: RetryPolicy;
  /** How often lanes are looked at for what no event told, in milliseconds. */
  readonly lookMilliseconds?: number | undefined;
}

interface Pending {
  readonly request: StepRequest;
  readonly end: (end: StepEnd) => void;
  readonly fail: (error: unknown) => void;
}

interface OpenLane {
  readonly lane: Lane;
  readonly queue: Queue<Step, JobReturn>;
  readonly events: QueueEvents;
  readonly pending: Map<string, Pending>;
  /** What is to be added with the next round trip. */
  adding: Pending[];
}

/**
 * Has steps carried out by workers: BullMQ hands them out, retries what failed and takes back what a dead worker had. The store says what is done, so that neither events
 * nor jobs have to be kept: whatever was lost is added again.
 */
export function queueEngine({ connection, store, retries, lookMilliseconds = 10_000 }: QueueEngineOptions): Engine {
  const lanes = new Map<string, Promise<OpenLane>>();
  const readers: Redis[] = [];
  const looking = setInterval(() => void lookAtAll().catch(() => {}), lookMilliseconds);
  looking.unref();
  return {
    run: async (request) => {
      const known = await readRecord(store, request.step.kind, request.step.key);
      if (known !== undefined)
        return { outcome: "done", record: known as StepRecord, milliseconds: 0, worker: "store" };
      if (request.signal.aborted) return { outcome: "cancelled" };
      const lane = await opened(laneOf(request.step, version(), store.id));
      return waitFor(lane, request);
    },
    depth,
    close: async () => {
      clearInterval(looking);
      for (const open of lanes.values()) {
        const { queue, events } = await open;
        await Promise.allSettled([events.close(), queue.close()]);
      }
      for (const client of [...readers, connection.client]) client.disconnect();
    },
  };

  async function depth(): Promise<Record<string, number>> {
    const sum: Record<string, number> = { waiting: 0, delayed: 0, active: 0 };
    for (const open of lanes.values()) {
      const counts = await (await open).queue.getJobCounts("waiting", "prioritized", "delayed", "active");
      for (const [name, count] of Object.entries(counts)) {
        const state = name === "prioritized" ? "waiting" : name;
        sum[state] = (sum[state] ?? 0) + count;
      }
    }
    return sum;
  }

  function opened(lane: Lane): Promise<OpenLane> {
    let open = lanes.get(lane.name);
    if (open === undefined) {
      open = openLane(lane).catch((error: unknown) => {
        throw queueError(error, connection.place);
      });
      lanes.set(lane.name, open);
    }
    return open;
  }

  async function openLane(lane: Lane): Promise<OpenLane> {
    const { client } = connection;
    const queue = new Queue<Step, JobReturn>(lane.name, { connection: client, prefix: queuePrefix });
    // What an earlier run gave up is begun anew.
    await queue.clean(0, 0, "failed");
    const [last] = await client.xrevrange(`${queuePrefix}:${lane.name}:events`, "+", "-", "COUNT", 1);
    const reader = client.duplicate();
    readers.push(reader);
    const events = new QueueEvents(lane.name, {
      connection: reader,
      prefix: queuePrefix,
      lastEventId: last?.[0] ?? "0-0",
    });
    const open: OpenLane = { lane, queue, events, pending: new Map(), adding: [] };
    // The connection itself tells.
    queue.on("error", () => {});
    events.on("error", () => {});
    reader.on("error", () => {});
    listen(open);
    await events.waitUntilReady();
    await client.sadd(lanesKey, lane.name);
    return open;
  }

  function listen(open: OpenLane): void {
    const { events, pending } = open;
    events.on("active", ({ jobId }) => pending.get(jobId)?.request.onEvent({ kind: "started", worker: "" }));
    events.on("completed", ({ jobId, returnvalue }) => {
      void finish(open, jobId, returnvalue as unknown as JobReturn).catch((error: unknown) => stop(open, jobId, error));
    });
    events.on("failed", ({ jobId, failedReason }) => {
      const problem = parseProblem(failedReason);
      settle(open, jobId, { outcome: "failed", problem, attempts: problem.attempts ?? retries.retries + 1 });
    });
    events.on("delayed", ({ jobId }) => {
      if (pending.has(jobId)) void tellRetry(open, jobId).catch(() => {});
    });
  }

  async function tellRetry({ queue, pending }: OpenLane, jobId: string): Promise<void> {
    const job = await queue.getJob(jobId);
    if (job?.failedReason === undefined) return;
    const { attemptsMade: attempts, failedReason } = job;
    pending.get(jobId)?.request.onEvent({ kind: "again", attempts, problem: parseProblem(failedReason) });
  }

  async function finish(open: OpenLane, jobId: string, { milliseconds, worker }: JobReturn): Promise<void> {
    const found = open.pending.get(jobId);
    if (found === undefined) return;
    const { kind, key } = found.request.step;
    const record = await readRecord(store, kind, key);
    // A worker with another store, or a folder that a file server shows late: the next look adds it again.
    if (record === undefined) return;
    settle(open, jobId, { outcome: "done", record: record as StepRecord, milliseconds, worker });
  }

  function settle({ pending }: OpenLane, jobId: string, end: StepEnd): void {
    const found = pending.get(jobId);
    pending.delete(jobId);
    found?.end(end);
  }

  function stop({ pending }: OpenLane, jobId: string, error: unknown): void {
    const found = pending.get(jobId);
    pending.delete(jobId);
    found?.fail(error);
  }

  function waitFor(open: OpenLane, request: StepRequest): Promise<StepEnd> {
    const jobId = jobIdOf(request.step);
    return new Promise((end, fail) => {
      const before = open.pending.get(jobId);
      const both = (one: StepEnd): void => {
        before?.end(one);
        end(one);
      };
      const waiting: Pending = { request, end: before === undefined ? end : both, fail };
      open.pending.set(jobId, waiting);
      request.signal.addEventListener("abort", () => {
        // What a worker has begun ends there, and its result is kept; nobody waits for it.
        void open.queue.remove(jobId).catch(() => {});
        settle(open, jobId, { outcome: "cancelled" });
      });
      if (before === undefined) add(open, waiting);
    });
  }

  /** Collects what is added in one turn of the event loop, so that a hundred thousand cells take some hundred round trips. */
  function add(open: OpenLane, waiting: Pending): void {
    open.adding.push(waiting);
    if (open.adding.length > 1) return;
    setImmediate(async () => {
      while (open.adding.length > 0) {
        const batch = open.adding.slice(0, 500);
        try {
          await open.queue.addBulk(batch.map(({ request }) => jobOf(request)));
        } catch (error) {
          for (const { request } of batch) stop(open, jobIdOf(request.step), queueError(error, connection.place));
        }
        open.adding.splice(0, batch.length);
      }
    });
  }

  function jobOf({ step, priority }: StepRequest): Parameters<Queue<Step>["addBulk"]>[0][number] {
    return {
      name: step.kind,
      data: step,
      opts: {
        jobId: jobIdOf(step),
        // Kernels come before all cells.
        ...(step.kind === "kernel" ? {} : { priority }),
        attempts: retries.retries + 1,
        backoff: { type: "exponential", delay: retries.backoffMilliseconds },
        removeOnComplete: true,
        removeOnFail: { age: 7 * 24 * 3600 },
        stackTraceLimit: 0,
      },
    };
  }

  /** Finds what is done or gone without that an event told: events are kept for a while only, and a queue may come back without its last second. */
  async function lookAtAll(): Promise<void> {
    for (const one of lanes.values()) {
      const open = await one;
      if (open.pending.size === 0 || open.adding.length > 0) continue;
      // Workers look there for lanes.
      await connection.client.sadd(lanesKey, open.lane.name);
      const counts = await open.queue.getJobCounts("waiting", "active", "delayed", "prioritized");
      if (Object.values(counts).some((count) => count > 0)) continue;
      for (const [jobId, waiting] of [...open.pending]) await lookAt(open, jobId, waiting);
    }
  }

  async function lookAt(open: OpenLane, jobId: string, waiting: Pending): Promise<void> {
    const { kind, key } = waiting.request.step;
    const record = await readRecord(store, kind, key);
    if (record !== undefined) {
      settle(open, jobId, { outcome: "done", record: record as StepRecord, milliseconds: 0, worker: "" });
      return;
    }
    const job: Job<Step, JobReturn> | undefined = await open.queue.getJob(jobId);
    if (job === undefined) return add(open, waiting);
    if ((await job.getState()) !== "failed") return;
    settle(open, jobId, { outcome: "failed", problem: parseProblem(job.failedReason), attempts: job.attemptsMade });
  }
}

/** What a worker says of a failure: a problem as JSON, or BullMQ's own words. */
function parseProblem(reason: string): StepProblem & { readonly attempts?: number | undefined } {
  try {
    const value = JSON.parse(reason) as Partial<StepProblem>;
    if (typeof value.code === "string" && typeof value.message === "string")
      return { log: "", ...value } as StepProblem;
  } catch {
    // Not ours.
  }
  if (/stalled/.test(reason)) {
    return {
      code: "WORKERS_DIED",
      message: "each worker that had this cell ended before it was done",
      why: reason,
      hint: "look for a lack of memory on the workers (dmesg)",
      log: "",
    };
  }
  return { code: "QUEUE_FAILED", message: reason, log: "" };
}
