import { sha256 } from "../../support/cache.ts";
import type { Step } from "../step.ts";

/**
 * A lane is a queue of BullMQ: for one version of kmend, one store, one set of needs, and some of the kernels. A worker stays with a lane while it has cells, so that a
 * kernel's prepared tree is used again where it is.
 */
export interface Lane {
  /** Name of the queue. */
  readonly name: string;
  readonly version: string;
  /** Begin of the store's id. */
  readonly store: string;
  readonly needs: readonly string[];
  /** Which kernels. */
  readonly number: number;
}

/** Kernels are spread over so many lanes: each costs the command a connection. */
const laneCount = 16;

/** What a worker is able to do; it is a part of the names of queues. */
export const wordPattern = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** The lane of a step. */
export function laneOf(step: Step, version: string, storeId: string): Lane {
  const release = "release" in step ? step.release : "kernel" in step ? step.kernel.release : undefined;
  const number = release === undefined ? 0 : Number.parseInt(sha256(release).slice(0, 8), 16) % laneCount;
  const lane = { version, store: storeId.slice(0, 8), needs: step.needs, number };
  return { name: [version, lane.store, step.needs.join("+"), number].join("~"), ...lane };
}

/** A lane from the name of its queue, or undefined for something else. */
export function parseLane(name: string): Lane | undefined {
  const [version, store, needs, number, ...more] = name.split("~");
  if (version === undefined || store === undefined || needs === undefined || more.length > 0) return undefined;
  if (!/^\d+$/.test(number ?? "")) return undefined;
  return { name, version, store, needs: needs === "" ? [] : needs.split("+"), number: Number(number) };
}

/** Id of the job of a step: the same step is in the queue once. */
export function jobIdOf({ kind, key }: Step): string {
  return `${kind}-${key}`;
}
