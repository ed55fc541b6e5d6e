import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import type { Step, StepRecord } from "../step.ts";
import { StepError } from "../steps/child-command.ts";

/** Why a step has no result, as it is shown and sent. */
export interface StepProblem {
  readonly code: string;
  readonly message: string;
  readonly where?: string | undefined;
  readonly why?: string | undefined;
  readonly hint?: string | undefined;
  /** What was said until then. */
  readonly log: string;
}

/** How a step ended. */
export type StepEnd =
  | { readonly outcome: "done"; readonly record: StepRecord; readonly milliseconds: number; readonly worker: string }
  | { readonly outcome: "failed"; readonly problem: StepProblem; readonly attempts: number }
  | { readonly outcome: "cancelled" };

/** What becomes of a step before it ends. */
export type StepEvent =
  | { readonly kind: "started"; readonly worker: string }
  | { readonly kind: "again"; readonly attempts: number; readonly problem: StepProblem };

/** How a step is to be carried out. */
export interface StepRequest {
  readonly step: Step;
  /** 1 comes first. */
  readonly priority: number;
  readonly onEvent: (event: StepEvent) => void;
  /** Cancels this step. */
  readonly signal: AbortSignal;
}

/** Carries out steps: here, or on workers. */
export interface Engine {
  /** @throws KmendError only when the engine itself ends, such as a queue that is gone for good. */
  run(request: StepRequest): Promise<StepEnd>;
  /** Steps by what becomes of them: `waiting`, `delayed`, `active`. */
  depth(): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

/** How often a failed step is tried again, and how long it waits for that: 1 time, 2 times, 4 times so many milliseconds. */
export interface RetryPolicy {
  readonly retries: number;
  readonly backoffMilliseconds: number;
}

/** What a failure of the machine gets. */
export const usualRetries: RetryPolicy = { retries: 3, backoffMilliseconds: 5000 };

/** Failures that come out the same however often it is tried. */
const final = new Set(["TRIAL_FAILED", "NOT_REPRODUCIBLE", "SIGNER", "STORE_DAMAGED"]);

/** True for a failure that another attempt does not change. */
export function isFinal(error: unknown): boolean {
  if (!(error instanceof KmendError)) return false;
  return final.has(error.code) || error.exitCode === ExitCode.usage || error.exitCode === ExitCode.policy;
}

/** Longest log that is sent and kept, in characters; its end tells most. */
const longestLog = 20_000;

/** An error as it is shown and sent. */
export function problemOf(error: unknown): StepProblem {
  const log = error instanceof StepError ? error.log.slice(-longestLog) : "";
  if (!(error instanceof KmendError)) {
    const stack = error instanceof Error ? (error.stack ?? "") : "";
    return { code: "INTERNAL", message: messageOf(error), log: log === "" ? stack : log };
  }
  const { code, message, where, why, hint } = error;
  return { code, message, where, why, hint, log };
}
