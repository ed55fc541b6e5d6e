import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import PQueue from "p-queue";
import pRetry, { AbortError } from "p-retry";
import type { Step } from "../step.ts";
import { runStep } from "../steps/run-step.ts";
import type { StepServices } from "../steps/step-services.ts";
import { type Engine, isFinal, problemOf, type RetryPolicy, type StepEnd, type StepRequest } from "./engine.ts";

/** What an engine on this machine works with. */
export interface EmbeddedOptions {
  readonly services: StepServices;
  /** Steps at once. */
  readonly lanes: number;
  readonly retries: RetryPolicy;
}

/** Carries out steps on this machine, so many at once. A step that failed waits for its next attempt outside of the lanes. */
export function embeddedEngine({ services, lanes, retries }: EmbeddedOptions): Engine {
  const queue = new PQueue({ concurrency: lanes });
  const worker = hostname();
  if (services.signal !== undefined) setMaxListeners(0, services.signal);
  return {
    run: (request) => runHere(request),
    depth: async () => ({ waiting: queue.size, active: queue.pending }),
    close: async () => {
      queue.clear();
    },
  };

  async function runHere({ step, priority, onEvent, signal }: StepRequest): Promise<StepEnd> {
    let attempts = 0;
    let milliseconds = 0;
    const attempt = (): Promise<Awaited<ReturnType<typeof runStep>>> =>
      queue.add(
        async () => {
          attempts++;
          onEvent({ kind: "started", worker });
          const started = performance.now();
          const record = await runStep(step, { ...services, signal: anyOf(services.signal, signal) });
          milliseconds = Math.round(performance.now() - started);
          return record;
        },
        { priority: urgency(step, priority), signal, throwOnTimeout: true },
      );
    try {
      const record = await pRetry(
        () =>
          attempt().catch((error: unknown) => {
            if (signal.aborted || services.signal?.aborted || isFinal(error)) throw new AbortError(asError(error));
            throw new Retryable(error);
          }),
        {
          retries: retries.retries,
          minTimeout: retries.backoffMilliseconds,
          factor: 2,
          signal,
          onFailedAttempt: (error) => {
            if (error.retriesLeft > 0) onEvent({ kind: "again", attempts, problem: problemOf(causeOf(error)) });
          },
        },
      );
      return { outcome: "done", record, milliseconds, worker };
    } catch (error) {
      services.signal?.throwIfAborted();
      if (signal.aborted) return { outcome: "cancelled" };
      return { outcome: "failed", problem: problemOf(causeOf(error)), attempts };
    }
  }
}

/** pRetry takes every TypeError for a broken program, but for some of fetch. */
class Retryable extends Error {
  constructor(cause: unknown) {
    super("attempt failed", { cause });
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof Retryable ? error.cause : error;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function anyOf(first: AbortSignal | undefined, second: AbortSignal): AbortSignal {
  return first === undefined ? second : AbortSignal.any([first, second]);
}

/** Later steps go first, so that cells are finished one after the other. */
function urgency({ kind }: Step, priority: number): number {
  return (kind === "kernel" ? 3 : kind === "build" || kind === "verify" ? 1 : 2) * 10 - priority;
}
