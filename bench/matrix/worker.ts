import { queueAddress } from "../../src/matrix/queue/queue-address.ts";
import { connectQueue } from "../../src/matrix/queue/queue-connection.ts";
import { runWorker } from "../../src/matrix/queue/worker.ts";
import type { BuildRecord, Step, StepRecord } from "../../src/matrix/step.ts";
import type { StepServices } from "../../src/matrix/steps/step-services.ts";
import { openFolderStore } from "../../src/matrix/store/folder-store.ts";
import { putRecord, readRecord } from "../../src/matrix/store/records.ts";

/** What a worker of the simulation is told. */
export interface SimulatedWorker {
  readonly url: string;
  readonly store: string;
  readonly jobs: number;
}

/** A worker whose cells are refused at once: all but the compiler is real. */
export async function simulatedWorker(words: string): Promise<void> {
  const { url, store: folder, jobs } = JSON.parse(words) as SimulatedWorker;
  const stop = new AbortController();
  process.on("SIGTERM", () => stop.abort());
  const services = {
    store: await openFolderStore(folder),
    program: [],
    jobs: 1,
    facts: new Map(),
    signal: stop.signal,
  };
  const connection = await connectQueue(await queueAddress({ url }));
  const note = (): void => {};
  await runWorker({ connection, services, jobs, can: ["x86_64"], note, signal: stop.signal, carryOut: refuse });
}

async function refuse(step: Step, { store }: StepServices): Promise<StepRecord> {
  const known = await readRecord(store, step.kind, step.key);
  if (known !== undefined) return known;
  const nothing = { functions: [], warnings: [], notes: [], units: [], symbols: [], refusals: [] };
  const record: BuildRecord = { outcome: "refused", ...nothing, module: null, report: null };
  await putRecord(store, "build", step.key, record);
  return record;
}
