import type { Redis } from "ioredis";
import { queuePrefix } from "./queue-connection.ts";

/** Set of the names of all lanes. */
export const lanesKey = `${queuePrefix}:lanes`;

/** A worker as it reports itself. */
export interface WorkerEntry {
  readonly id: string;
  readonly host: string;
  readonly version: string;
  /** Id of its store. */
  readonly store: string;
  readonly can: readonly string[];
  readonly jobs: number;
}

/** A worker that has not reported for so long is gone, in seconds. */
const goneSeconds = 30;

function keyOf(id: string): string {
  return `${queuePrefix}:worker:${id}`;
}

const workersKey = `${queuePrefix}:workers`;

/** Says that a worker is there; to be repeated. */
export async function reportWorker(client: Redis, entry: WorkerEntry): Promise<void> {
  await client.multi().sadd(workersKey, entry.id).set(keyOf(entry.id), JSON.stringify(entry), "EX", goneSeconds).exec();
}

/** Takes a worker off the list. */
export async function removeWorker(client: Redis, id: string): Promise<void> {
  await client.multi().srem(workersKey, id).del(keyOf(id)).exec();
}

/** All workers that are there. */
export async function readWorkers(client: Redis): Promise<readonly WorkerEntry[]> {
  const ids = await client.smembers(workersKey);
  if (ids.length === 0) return [];
  const texts = await client.mget(ids.map(keyOf));
  const gone = ids.filter((_, index) => texts[index] === null);
  if (gone.length > 0) await client.srem(workersKey, gone);
  return texts.flatMap((text) => (text === null || text === undefined ? [] : [JSON.parse(text) as WorkerEntry]));
}
