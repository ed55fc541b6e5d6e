import { setTimeout as delay } from "node:timers/promises";
import { queueAddress } from "../../src/matrix/queue/queue-address.ts";
import { connectQueue, type QueueConnection } from "../../src/matrix/queue/queue-connection.ts";
import { queueEngine } from "../../src/matrix/queue/queue-engine.ts";
import { runWorker } from "../../src/matrix/queue/worker.ts";
import { runMatrix } from "../../src/matrix/start-matrix.ts";
import { openFolderStore } from "../../src/matrix/store/folder-store.ts";
import { SilentProgress } from "../../src/support/progress.ts";

/** As a service manager does that starts it again. */
async function connected(): Promise<QueueConnection> {
  for (;;) {
    const connection = await connectQueue(await queueAddress({ url })).catch(() => undefined);
    if (connection !== undefined) return connection;
    await delay(100);
  }
}

/** A worker or a command of a test as a process of its own, which can be killed; its first word is JSON. */
interface Order {
  readonly kind: "worker" | "matrix";
  readonly url: string;
  readonly folder: string;
  readonly program: readonly string[];
  readonly kernels: readonly string[];
}

const { kind, url, folder, program, kernels } = JSON.parse(process.argv[2] ?? "") as Order;
const signal = new AbortController().signal;
const connection = await connected();
const output = `${folder}/output`;
if (kind === "worker") {
  const facts = new Map(
    kernels.map((release) => {
      const more = { sources: "s", configuration: "c", compiler: "gcc" };
      return [release, Promise.resolve({ release, packageVersion: `${release}-v`, buildId: `id-${release}`, ...more })];
    }),
  );
  const services = { store: await openFolderStore(`${output}/store`), program, jobs: 1, facts, signal };
  const options = { jobs: 2, can: ["x86_64", "deb"], note: () => {}, signal, lockMilliseconds: 1500 };
  await runWorker({ connection, services, ...options });
} else {
  const offer = {
    kernels: kernels.map((release) => ({ release, packageVersion: `${release}-v`, installed: false, hasSource: true })),
    newest: kernels.at(-1) as string,
  };
  const result = await runMatrix({
    ...{ manifest: `${folder}/fleet.yaml`, output, offer, format: "deb", needs: ["x86_64"] },
    repository: { folder: `${folder}/repository` },
    engine: async (store) =>
      queueEngine({ connection, store, retries: { retries: 3, backoffMilliseconds: 50 }, lookMilliseconds: 500 }),
    progress: new SilentProgress(),
    signal,
  });
  console.log(JSON.stringify(result.counts));
  process.exit(0);
}
