import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RedisServer } from "../../bench/matrix/redis-server.ts";
import type { MatrixResult } from "../../src/matrix/matrix-result.ts";
import { queueAddress } from "../../src/matrix/queue/queue-address.ts";
import { connectQueue } from "../../src/matrix/queue/queue-connection.ts";
import { queueEngine } from "../../src/matrix/queue/queue-engine.ts";
import { runWorker } from "../../src/matrix/queue/worker.ts";
import { adviceOnWorkers } from "../../src/matrix/queue/worker-advice.ts";
import { reportWorker } from "../../src/matrix/queue/worker-registry.ts";
import type { MatrixOptions } from "../../src/matrix/start-matrix.ts";
import { openFolderStore } from "../../src/matrix/store/folder-store.ts";
import type { ModuleSigner } from "../../src/package/sign-module.ts";
import { sha256 } from "../../src/support/cache.ts";
import { version } from "../../src/support/version.ts";
import { StandIn } from "./stand-in.ts";

// Each cell is a process of its own, and machines that run tests are busy.
vi.setConfig({ testTimeout: 120_000 });

let world: StandIn;
let redis: RedisServer;
let stop: AbortController;
let workers: Promise<number>[];
let notes: string[];

beforeEach(async () => {
  world = new StandIn();
  redis = await new RedisServer().start();
  stop = new AbortController();
  workers = [];
  notes = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(workers);
  await redis.remove();
  world.remove();
});

const connect = async () => connectQueue(await queueAddress({ url: redis.url }));

/** Runs the manifest through the queue. */
function run(options: Partial<MatrixOptions> = {}): Promise<MatrixResult> {
  return world.run({
    needs: ["x86_64"],
    engine: async (store) => {
      const retries = { retries: 3, backoffMilliseconds: 10 };
      return queueEngine({ connection: await connect(), store, retries, lookMilliseconds: 500 });
    },
    ...options,
  });
}

async function startWorker(can: readonly string[] = ["x86_64", "deb"], signer?: ModuleSigner): Promise<void> {
  const store = await openFolderStore(join(world.output, "store"));
  const services = { store, program: world.program, jobs: 1, facts: world.facts(), signer, signal: stop.signal };
  const note = (text: string): void => void notes.push(text);
  const connection = await connect();
  workers.push(runWorker({ connection, services, jobs: 2, can, note, signal: stop.signal, lockMilliseconds: 2000 }));
}

/** Everything in the store but its mark. */
function contents(): Map<string, string> {
  const store = join(world.output, "store");
  const files = readdirSync(store, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !path.endsWith("store.json"));
  return new Map(paths.sort().map((path) => [path, sha256(readFileSync(path))]));
}

test("workers make the same store, byte for byte, as this machine alone", async () => {
  world.package("fix", "refuse 6.1.0-2-amd64").package("other").package("no", "reject");
  await startWorker();
  await startWorker();
  const queued = await run();
  const states = queued.cells.map(({ id, state }) => [id, state]);
  const made = contents();
  execFileSync("rm", ["-rf", world.output]);
  const here = await world.run();
  expect(here.cells.map(({ id, state }) => [id, state])).toEqual(states);
  expect(contents()).toEqual(made);
  expect(queued.counts).toMatchObject({ built: 5, refused: 4 });
  expect(here.packages).toEqual(queued.packages);
});

test("a cell waits for a worker that can do what it needs", async () => {
  world.package("fix", "", ["newest"]);
  await startWorker(["deb"]);
  const running = run({ needs: ["x86_64", "debian-13"] });
  const client = redis.client();
  await expect.poll(() => client.scard("kmend:lanes"), { timeout: 20_000 }).toBeGreaterThan(0);
  await startWorker(["x86_64"]);
  expect(world.calls()).toEqual([]);
  await startWorker(["debian-13", "x86_64"]);
  expect((await running).counts.built).toBe(1);
  client.disconnect();
});

test("what fails is tried again by a worker, and then shown with its log", async () => {
  world.package("fix", "fail 3", ["newest"]).package("worse", "fail 9", ["newest"]);
  await startWorker();
  const { cells } = await run();
  expect(cells).toMatchObject([{ state: "built" }, { state: "failed", attempts: 4, codes: ["NO_SPACE"] }]);
  expect(cells[1]?.problem?.log).toContain("the disk is tired");
  expect(notes.some((note) => note.includes("NO_SPACE"))).toBe(true);
  // Another run begins it anew.
  expect((await run()).cells[1]).toMatchObject({ state: "failed", attempts: 4 });
});

test("the second build of a cell is made by another worker", async () => {
  world.package("fix", "", ["newest"]).package("odd", "random", ["newest"]);
  await startWorker();
  const running = run({ verifies: true });
  await expect.poll(() => world.calls().length, { timeout: 20_000 }).toBe(2);
  await startWorker();
  const { cells } = await running;
  expect(cells).toMatchObject([
    { state: "built", verified: true },
    { state: "failed", codes: ["NOT_REPRODUCIBLE"] },
  ]);
  expect(world.calls()).toHaveLength(4);
});

test("only a worker with the key signs", async () => {
  const [key, certificate] = [join(world.folder, "key.pem"), join(world.folder, "cert.pem")];
  const words = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-subj",
    "/CN=fleet",
    "-keyout",
    key,
    "-out",
    certificate,
  ];
  execFileSync("openssl", words, { stdio: "ignore" });
  world.package("fix", "", ["newest"]);
  await startWorker(["x86_64", "deb"]);
  const running = run({ signer: { certificate: sha256(readFileSync(certificate)), hash: "sha256" } });
  await startWorker(["sign"], { key, certificate });
  const { cells, packages } = await running;
  expect(cells).toMatchObject([{ state: "built", module: { signed: true } }]);
  expect(packages).toMatchObject([{ state: "packaged" }]);
  const module = readFileSync(join(world.output, "modules/kpatch-module-fix/6.12.1-amd64/kpatch-fix.ko"));
  expect(module.subarray(-28).toString("latin1")).toBe("~Module signature appended~\n");
});

test("what is in the store is not asked of anybody", async () => {
  world.package("fix");
  await startWorker();
  await run();
  world.forgetCalls();
  stop.abort();
  await Promise.all(workers);
  expect((await run()).counts.built).toBe(3);
  expect(world.calls()).toEqual([]);
});

test("workers of another version or with another store are told of, and get nothing", async () => {
  const { client, options } = await connect();
  const base = { host: "far", can: ["x86_64"], jobs: 1 };
  await reportWorker(client, { ...base, id: "1", version: "0.0.9", store: "s" });
  await reportWorker(client, { ...base, id: "2", version: version(), store: "t" });
  const advice = (await adviceOnWorkers(client, "s", ["x86_64"])).join("\n");
  expect(advice).toContain(`the worker on far is kmend 0.0.9, and gets no cells of kmend ${version()}`);
  expect(advice).toContain("the worker on far has another store");
  expect(advice).toContain("no worker that can do x86_64 is there yet");
  await reportWorker(client, { ...base, id: "3", version: version(), store: "s" });
  expect((await adviceOnWorkers(client, "s", ["x86_64"])).join("\n")).not.toContain("is there yet");
  client.disconnect();
  expect(options.password).toBeUndefined();
});

test("jobs that a queue has lost are added again", async () => {
  world.package("fix");
  const running = run();
  const client = redis.client();
  await expect.poll(() => client.scard("kmend:lanes"), { timeout: 20_000 }).toBeGreaterThan(0);
  await client.flushall();
  await client.set("kmend:format", "1");
  await startWorker();
  expect((await running).counts.built).toBe(3);
  client.disconnect();
});

test("a cell can be cancelled and begun again", async () => {
  world.package("fix", "wait 300", ["newest"]).package("other", "", ["newest"]);
  const id = "kpatch-module-fix/6.12.1-amd64";
  const result = await run({
    onStart: async (matrix) => {
      let began = false;
      matrix.state.onChange(() => {
        const { state } = matrix.state.cells.get(id) ?? { state: "built" };
        if (state === "waiting" && !began) matrix.cancel(id);
        if (state === "cancelled" && !began) {
          began = true;
          setTimeout(() => void startWorker().then(() => matrix.retry(id)), 10);
        }
      });
      return async () => {
        await expect
          .poll(() => matrix.state.packages.get("kpatch-module-fix")?.state, { timeout: 20_000 })
          .toBe("packaged");
      };
    },
  });
  expect(result.counts).toMatchObject({ built: 2, cancelled: 0 });
});
