import { parentPort, workerData } from "node:worker_threads";
import { pairDiff } from "./diff-objects.ts";
import { type DiffMessage, type DiffWork, failureOf, PairQueue } from "./pair-queue.ts";

/** A thread of `kmend diff --batch`: compares pairs until none is left, and posts what comes of each. */
async function main(): Promise<void> {
  const { pairs, known, memory } = workerData as DiffWork;
  const queue = new PairQueue(pairs.length, memory);
  const diff = await pairDiff(known);
  for (let number = queue.take(); number !== undefined; number = queue.take()) {
    const pair = pairs[number];
    if (pair !== undefined) parentPort?.postMessage(await messageOf(number, () => diff(pair)));
  }
}

async function messageOf(
  number: number,
  compare: () => ReturnType<Awaited<ReturnType<typeof pairDiff>>>,
): Promise<DiffMessage> {
  try {
    return { number, result: await compare() };
  } catch (error) {
    return { number, failure: failureOf(error) };
  }
}

void main();
