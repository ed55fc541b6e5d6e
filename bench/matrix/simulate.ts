import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { queueAddress } from "../../src/matrix/queue/queue-address.ts";
import { connectQueue } from "../../src/matrix/queue/queue-connection.ts";
import { queueEngine } from "../../src/matrix/queue/queue-engine.ts";
import { type BuildStep, buildKey } from "../../src/matrix/step.ts";
import { openFolderStore } from "../../src/matrix/store/folder-store.ts";
import { childFailed } from "../benchmark.ts";
import { RedisServer } from "./redis-server.ts";
import type { SimulatedWorker } from "./worker.ts";

/** What a simulation of so many cells took. */
export interface Simulation {
  readonly cells: number;
  /** Seconds until all cells are in the queue. */
  readonly adding: number;
  /** Bytes of Redis for each of them while they wait. */
  readonly bytesPerCell: number;
  /** Seconds from the start of the workers until the last cell is done. */
  readonly working: number;
}

/** Cells of a hundred kernels, each with the facts and the patch that a real one has. */
function cellsOf(count: number): BuildStep[] {
  return Array.from({ length: count }, (_, index) => {
    const release = `6.1.0-${index % 100}-amd64`;
    const digest = (text: string): string => text.padEnd(64, "0");
    const kernel = {
      ...{ release, packageVersion: `6.1.${index % 100}-1`, buildId: digest(release).slice(0, 40) },
      ...{ sources: digest("a"), configuration: digest("b"), compiler: "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0" },
    };
    const patches = [{ name: `fix-${Math.floor(index / 100)}.patch`, sha256: digest(String(index)) }];
    const question = { kernel, module: `kpatch-fix-${Math.floor(index / 100)}`, patches, words: [] };
    const settings = { needs: ["x86_64"], archive: null, report: false, twice: false };
    return { kind: "build", key: buildKey(question), ...question, ...settings };
  });
}

/** Takes cells through a Redis of its own. @param program the bundle with the workers. */
export async function simulate(cells: number, workers: number, program: string): Promise<Simulation> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-simulation-"));
  const redis = await new RedisServer("--appendfsync", "everysec").start();
  const children: ChildProcess[] = [];
  const client = redis.client();
  try {
    const store = await openFolderStore(join(folder, "store"));
    const memory = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await client.info("memory"))?.[1]);
    const connection = await connectQueue(await queueAddress({ url: redis.url }));
    const before = await memory();
    const engine = queueEngine({ connection, store, retries: { retries: 3, backoffMilliseconds: 1000 } });
    const started = performance.now();
    const steps = cellsOf(cells);
    const ends = steps.map((step) =>
      engine.run({ step, priority: 4, onEvent: () => {}, signal: new AbortController().signal }),
    );
    for (;;) {
      if ((await engine.depth())["waiting"] === cells) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const adding = (performance.now() - started) / 1000;
    const bytesPerCell = ((await memory()) - before) / cells;
    const order: SimulatedWorker = { url: redis.url, store: join(folder, "store"), jobs: 4 };
    const begun = performance.now();
    for (let number = 0; number < workers; number++) {
      children.push(
        spawn(process.execPath, [program, "measure-matrix-worker", JSON.stringify(order)], { stdio: "inherit" }),
      );
    }
    const failed = Promise.race(children.map(async (child) => (await once(child, "exit"))[0] as number | null));
    const done = await Promise.race([Promise.all(ends), failed]);
    if (!Array.isArray(done)) throw childFailed("a worker", done);
    const working = (performance.now() - begun) / 1000;
    await engine.close();
    return { cells, adding, bytesPerCell, working };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    client.disconnect();
    await redis.remove();
    await rm(folder, { recursive: true, force: true });
  }
}
