import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { RedisServer } from "../../bench/matrix/redis-server.ts";
import { sha256 } from "../../src/support/cache.ts";
import { StandIn } from "../matrix/stand-in.ts";

const bundles = mkdtempSync(join(tmpdir(), "kmend-bundle-"));
const program = join(bundles, "process.mjs");
let world: StandIn;
let redis: RedisServer;
let children: ChildProcess[];

beforeAll(async () => {
  const require = 'import { createRequire as of } from "node:module"; const require = of(import.meta.url);';
  await build({
    entryPoints: [fileURLToPath(new URL("../matrix/queue-process.ts", import.meta.url))],
    ...{ outfile: program, bundle: true, format: "esm", platform: "node", target: "node20", banner: { js: require } },
    // What it reads of the package is found from where the bundle lies.
    external: ["iced-x86"],
    logLevel: "error",
  });
  execFileSync("cp", [fileURLToPath(new URL("../../package.json", import.meta.url)), bundles]);
});
afterAll(() => rmSync(bundles, { recursive: true, force: true }));
beforeEach(async () => {
  world = new StandIn();
  redis = await new RedisServer().start();
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await redis.remove();
  world.remove();
});

function start(kind: "worker" | "matrix"): ChildProcess {
  const { folder, kernels } = world;
  const order = { kind, url: redis.url, folder, kernels, program: world.program };
  const child = spawn(process.execPath, [program, JSON.stringify(order)], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return child;
}

async function end(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.on("data", (piece: Buffer) => {
    text += piece.toString();
  });
  await once(child, "close");
  return text.trim();
}

/** Digests of all files below some folders of the world but for what is not the same each time. */
function contents(...folders: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const folder of folders) {
    for (const entry of readdirSync(join(world.folder, folder), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      // The index of a repository says when it was made, and keeps those before it for who reads it now.
      if (!entry.isFile() || /store\.json$|unfinished\/|\/Release$|by-hash/.test(path)) continue;
      found[path.slice(world.folder.length)] = sha256(readFileSync(path));
    }
  }
  return found;
}

/** What a run that nobody disturbs leaves. */
async function undisturbed(): Promise<Record<string, string>> {
  await world.run({ format: "deb", repository: { folder: join(world.folder, "repository") } });
  const expected = contents("output/store", "output/packages", "repository");
  rmSync(world.output, { recursive: true });
  rmSync(join(world.folder, "repository"), { recursive: true });
  world.forgetCalls();
  mkdirSync(world.output);
  return expected;
}

test("with kill -9 of workers, of Redis and of the command the same comes out, byte for byte, and nothing is left half", async () => {
  for (const name of ["a", "b", "c", "d"]) world.package(name, "wait 400");
  world.package("no", "refuse");
  void world.manifest;
  const expected = await undisturbed();
  let workers = [start("worker"), start("worker")];
  let command = start("matrix");
  let isDone = false;
  let said = end(command).then((text) => {
    isDone = text !== "";
    return text;
  });
  for (let round = 0; !isDone; round++) {
    await delay(900);
    // Two of Redis, two of the command and some of workers; what is left of the work then has peace.
    if (isDone || round >= 10) continue;
    if (round === 2 || round === 6) {
      await redis.kill();
      await delay(200);
      await redis.start();
    } else if (round === 4 || round === 8) {
      command.kill("SIGKILL");
      await said;
      command = start("matrix");
      said = end(command).then((text) => {
        isDone = text !== "";
        return text;
      });
    } else {
      const victim = workers[round % workers.length] as ChildProcess;
      victim.kill("SIGKILL");
      workers = [...workers.filter((worker) => worker !== victim), start("worker")];
    }
  }
  expect(JSON.parse(await said)).toMatchObject({ built: 12, refused: 3, failed: 0 });
  expect(contents("output/store", "output/packages", "repository")).toEqual(expected);
}, 120_000);

test("a build ends with the worker that is killed", async () => {
  world.package("slow", "wait 60000", ["newest"]);
  void world.manifest;
  mkdirSync(world.output);
  const worker = start("worker");
  start("matrix");
  const running = (): string[] =>
    execFileSync("ps", ["-eo", "pid,args"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes(`${world.folder} build`));
  await expect.poll(() => running().length, { timeout: 20_000 }).toBe(1);
  worker.kill("SIGKILL");
  await expect.poll(() => running().length, { timeout: 20_000 }).toBe(0);
}, 60_000);
