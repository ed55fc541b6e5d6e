import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { sha256 } from "../../src/support/cache.ts";
import { childFailed } from "../benchmark.ts";
import { RedisServer } from "./redis-server.ts";

/** What is built. */
export interface RealMatrix {
  readonly root: string;
  readonly kernels: readonly string[];
  readonly patches: readonly string[];
}

/** How it is built: by this many workers, or without a queue; with workers, and Redis twice, killed while it goes on. */
export interface RealRun {
  readonly workers: number;
  readonly kills: boolean;
}

/** What came of it. */
export interface RealResult {
  readonly seconds: number;
  readonly counts: Readonly<Record<string, number>>;
  /** Digest of the whole store. */
  readonly store: string;
  readonly killed: number;
}

/** Builds all cells, from an empty store and with trees that are prepared. */
export async function runReal({ root, kernels, patches }: RealMatrix, run: RealRun): Promise<RealResult> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-bench-matrix-"));
  const launcher = join(root, "bin/kmend");
  const redis = run.workers > 0 ? await new RedisServer("--appendfsync", "everysec").start() : undefined;
  const children: ChildProcess[] = [];
  const start = (...words: readonly string[]): ChildProcess => {
    const child = spawn(process.execPath, [launcher, ...words, "--no-install", "-q"], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    children.push(child);
    return child;
  };
  try {
    const names = kernels.map((kernel) => JSON.stringify(kernel)).join(", ");
    const packages = patches.map((patch) => {
      return `- name: ${basename(patch, ".patch")}\n  patches: [{filename: ${JSON.stringify(patch)}, kernels: [${names}]}]\n`;
    });
    await writeFile(join(folder, "fleet.yaml"), `packages:\n${packages.join("")}`);
    const places = ["-o", join(folder, "output"), "--store", join(folder, "store"), "--format", "tar"];
    const queue = redis === undefined ? ["--jobs", "1"] : ["--queue", redis.url];
    const worker = (): ChildProcess =>
      start("worker", "--queue", redis?.url ?? "", "--store", join(folder, "store"), "--jobs", "1");
    const started = performance.now();
    let workers = Array.from({ length: run.workers }, worker);
    const command = start("matrix", join(folder, "fleet.yaml"), ...places, ...queue);
    const ended = once(command, "exit");
    let killed = 0;
    for (let round = 0; run.kills && command.exitCode === null; round++) {
      await Promise.race([delay(20_000), ended]);
      if (command.exitCode !== null) break;
      workers.splice(Math.floor(Math.random() * workers.length), 1)[0]?.kill("SIGKILL");
      workers = [...workers, worker()];
      killed++;
      if (round === 1 || round === 3) {
        await redis?.kill();
        await redis?.start();
      }
    }
    const [code] = (await ended) as [number | null];
    if (code !== 0 && code !== 4) throw childFailed("kmend matrix", code);
    const seconds = (performance.now() - started) / 1000;
    const { counts } = JSON.parse(await readFile(join(folder, "output/matrix.json"), "utf8")) as RealResult;
    return { seconds, counts, store: await digestOf(join(folder, "store")), killed };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await redis?.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

async function digestOf(store: string): Promise<string> {
  const parts: string[] = [];
  for (const kind of ["objects", "results"]) {
    const entries = await readdir(join(store, kind), { recursive: true, withFileTypes: true });
    const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    for (const path of paths.sort()) parts.push(`${path.slice(store.length)} ${sha256(await readFile(path))}`);
  }
  return sha256(parts.join("\n"));
}
