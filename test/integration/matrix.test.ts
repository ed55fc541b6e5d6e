import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { RedisServer } from "../../bench/matrix/redis-server.ts";
import type { MatrixResult } from "../../src/matrix/matrix-result.ts";
import { sha256 } from "../../src/support/cache.ts";
import { kmend } from "../cli/captured.ts";
import { runProgram } from "./fresh-root.ts";
import { newestOf612, Scratch, stockKernel } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const launcher = join(repository, "bin/kmend");
const scratch = new Scratch();
const loopback = "127.0.0.1";
let manifest: string;
let kernels: readonly string[];
let redis: RedisServer;
let worker: ChildProcess | undefined;

beforeAll(async () => {
  kernels = [(await stockKernel()).kernel.release, await newestOf612()];
  const folder = scratch.folder();
  for (const name of ["meminfo-string", "two-files"]) {
    copyFileSync(join(repository, "examples", `${name}.patch`), join(folder, `${name}.patch`));
  }
  const text = readFileSync(join(folder, "two-files.patch"), "utf8");
  writeFileSync(join(folder, "other.patch"), text.replaceAll(/^([-+ ].*)seq_/gm, "$1sEq_"));
  manifest = join(folder, "fleet.yaml");
  writeFileSync(
    manifest,
    `packages:
- name: meminfo
  version: "1"
  severity: Critical
  cves: [CVE-2026-12345]
  patches:
  - {filename: meminfo-string.patch, kernels: ["${kernels[0]}", "${kernels[1]}"]}
- name: other
  patches:
  - {filename: other.patch, kernels: ["${kernels[0]}"]}
`,
  );
  redis = await new RedisServer().start();
});
afterAll(async () => {
  worker?.kill("SIGTERM");
  if (worker !== undefined) await once(worker, "exit");
  await redis.remove();
  scratch.remove();
});

function resultIn(output: string): MatrixResult {
  return JSON.parse(readFileSync(join(output, "matrix.json"), "utf8")) as MatrixResult;
}

/** Digests of results and objects of a store. */
function contents(store: string): Map<string, string> {
  const entries = readdirSync(store, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !path.endsWith("store.json"));
  return new Map(paths.sort().map((path) => [path.slice(store.length), sha256(readFileSync(path))]));
}

test("real cells are built here and by a worker, to the same bytes, which are those of kmend package", async () => {
  const here = join(scratch.folder(), "here");
  const page = join(scratch.folder(), "page");
  const words = ["matrix", manifest, "--format", "deb", "--no-install"];
  const alone = runProgram(launcher, [...words, "-o", here, "--repo", join(here, "repository"), "--page", page]);
  expect(alone.exitCode, alone.output).toBe(4);
  const result = resultIn(here);
  expect(result.cells.map(({ state }) => state)).toEqual(["built", "built", "refused"]);
  expect(result.cells[2]?.codes).toEqual(["PATCH_DOES_NOT_APPLY"]);
  expect(result.packages.map(({ state }) => state)).toEqual(["published", "empty"]);
  expect(readFileSync(join(page, "index.html"), "utf8")).toContain(kernels[1]);

  const there = join(scratch.folder(), "there");
  const store = join(scratch.folder(), "store");
  worker = spawn(
    launcher,
    ["worker", "--queue", redis.url, "--store", store, "--jobs", "1", "--no-install", "--metrics", `${loopback}:0`],
    {
      stdio: "ignore",
    },
  );
  const queued = runProgram(launcher, [...words, "-o", there, "--store", store, "--queue", redis.url]);
  expect(queued.exitCode, queued.output).toBe(4);
  expect(contents(store)).toEqual(contents(join(here, "store")));

  const output = scratch.folder();
  const one = manifest.replace("fleet", "one");
  writeFileSync(one, readFileSync(manifest, "utf8").replace(/- name: other[\s\S]*/, ""));
  const packed = await kmend("package", one, "--format", "deb", "-o", output, "--no-install");
  expect(packed.exitCode, packed.stderr).toBe(0);
  const [name = ""] = readdirSync(output);
  expect(sha256(readFileSync(join(output, name)))).toBe(sha256(readFileSync(join(here, "packages", name))));
});

test("a module is tried, and its review report is made", async () => {
  const output = join(scratch.folder(), "tried");
  const page = join(scratch.folder(), "page");
  const one = manifest.replace("fleet", "tried");
  const only = readFileSync(manifest, "utf8")
    .replace(`, "${kernels[1]}"`, "")
    .replace(/- name: other[\s\S]*/, "");
  writeFileSync(one, only);
  const words = ["matrix", one, "--format", "tar", "--no-install", "-o", output, "--page", page];
  const { exitCode, output: said } = runProgram(launcher, [...words, "--try", "--report"]);
  expect(exitCode, said).toBe(0);
  const { cells } = resultIn(output);
  expect(cells).toMatchObject([{ state: "built", trial: "passed" }]);
  expect(readFileSync(join(page, "reports", `${cells[0]?.report}.html`), "utf8")).toContain("meminfo_proc_show");
});

test("a matrix that is interrupted ends, and leaves no build behind", async () => {
  const output = join(scratch.folder(), "interrupted");
  const child = spawn(launcher, ["matrix", manifest, "-o", output, "--no-install", "--no-replace"], {
    stdio: "ignore",
  });
  // Other tests build cells at the same time.
  const cells = (...of: readonly string[]): string[] =>
    runProgram("ps", [...of, "-o", "pid=,args="])
      .output.split("\n")
      .filter((line) => line.includes("kmend-cell-"))
      .map((line) => line.trim().split(" ", 1)[0] as string);
  const started = await vi.waitUntil(() => cells("--ppid", `${child.pid}`).at(0), { timeout: 60_000 });
  child.kill("SIGTERM");
  const [code] = (await once(child, "exit")) as [number | null];
  expect(code).toBe(130);
  await expect.poll(() => cells("-p", started), { timeout: 20_000 }).toEqual([]);
});
