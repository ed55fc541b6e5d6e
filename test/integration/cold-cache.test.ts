import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build as bundle } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { build, Scratch } from "./stock-kernel.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const example = join(root, "examples", "meminfo-string.patch");
const scratch = new Scratch();
const cache = join(scratch.path, "cache");
let program: string;

/** It prepares two trees. */
const isLong = process.env["KMEND_LONG_TESTS"] === "1";

beforeAll(async () => {
  if (!isLong) return;
  // Inside the checkout, where the bundle finds its dependencies.
  const folder = join(root, "node_modules", ".cache", `kmend-cold-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  program = join(folder, "cli.mjs");
  await bundle({
    entryPoints: [join(root, "src", "cli", "main.ts")],
    outfile: program,
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "silent",
  });
});
afterAll(() => {
  scratch.remove();
  if (isLong) rmSync(join(program, ".."), { recursive: true, force: true });
});

interface Ended {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves when standard error has shown the text, or the process ended without it. */
  readonly shows: (text: string) => Promise<void>;
}

/** Starts `kmend build` as a process of its own, with a cache of its own. */
function start(output: string, more: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Running {
  const words = ["build", example, "--kernel", "newest", "--json", "-o", output, ...more];
  const child = spawn(process.execPath, [program, ...words], {
    env: { ...process.env, ...env, KMEND_CACHE: cache },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }));
  });
  const shows = (wanted: string): Promise<void> =>
    new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!stderr.includes(wanted) && child.exitCode === null && child.signalCode === null) return;
        clearInterval(timer);
        resolve();
      }, 50);
    });
  return { child, ended, shows };
}

function expectBuilt(ended: Ended): BuildResult {
  expect(ended.exitCode, ended.stderr).toBe(0);
  const result = JSON.parse(ended.stdout) as BuildResult;
  expect(result.outcome).toBe("built");
  return result;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Folder of the only kernel in the cache. */
function kernelFolder(): string {
  const [id] = readdirSync(join(cache, "kernels"));
  return join(cache, "kernels", id as string);
}

/** Without kept units and template there is more to be interrupted. What a killed build had started may still write there, so it is tried again. */
async function forgetUnits(): Promise<void> {
  for (const name of readdirSync(kernelFolder()).filter((entry) => entry.startsWith("toolchain-"))) {
    await rm(join(kernelFolder(), name), { recursive: true, maxRetries: 20, retryDelay: 50 });
  }
}

function sourceDigest(): string {
  return createHash("sha256")
    .update(readFileSync(join(kernelFolder(), "tree", "fs/proc/meminfo.c")))
    .digest("hex");
}

describe.skipIf(!isLong)("an empty cache", () => {
  test("a build that is killed while it prepares leaves a cache in which two builds at once succeed", async () => {
    const killed = start(scratch.folder());
    await killed.shows("Prepare the kernel tree …");
    await pause(1000);
    killed.child.kill("SIGKILL");
    expect((await killed.ended).signal).toBe("SIGKILL");

    const outputs = [scratch.folder(), scratch.folder()];
    const [first, second] = await Promise.all(outputs.map((output) => start(output).ended));
    const results = [expectBuilt(first as Ended), expectBuilt(second as Ended)];
    expect(results[0]?.module?.sha256).toBe(results[1]?.module?.sha256);
    for (const output of outputs) expect(readdirSync(output)).toEqual(["livepatch-meminfo-string.ko"]);
    const elsewhere = await build([example], scratch.folder());
    expect(elsewhere.result.module?.sha256, "another cache gives the same bytes").toBe(results[0]?.module?.sha256);
  });

  test("kill -9 at any moment of a build does no harm to the next one", async () => {
    const before = sourceDigest();
    const output = scratch.folder();
    const reference = expectBuilt(await start(scratch.folder()).ended);
    for (let delay = 150; delay <= 1650; delay += 250) {
      await forgetUnits();
      const killed = start(output);
      await pause(delay);
      killed.child.kill("SIGKILL");
      await killed.ended;
      expect(sourceDigest()).toBe(before);
    }
    const result = expectBuilt(await start(output).ended);
    expect(result.module?.sha256).toBe(reference.module?.sha256);
    expect(readdirSync(output)).toEqual(["livepatch-meminfo-string.ko"]);
    expect(readdirSync(kernelFolder()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("an interrupt ends a build at once and leaves nothing", async () => {
    const output = scratch.folder();
    await forgetUnits();
    const running = start(output);
    // The compilers come next, and take longer than the signal.
    const own = `.build.${running.child.pid}.`;
    while (running.child.exitCode === null && !readdirSync(kernelFolder()).some((name) => name.startsWith(own))) {
      await pause(5);
    }
    running.child.kill("SIGINT");
    const { exitCode, stderr } = await running.ended;
    expect(exitCode, stderr).toBe(130);
    expect(readdirSync(output)).toEqual([]);
    expect(readdirSync(kernelFolder()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("with --skip-gcc-check the proof finds that another compiler made other code", async () => {
    const programs = scratch.folder();
    const path = process.env["PATH"] ?? "";
    for (const name of ["gcc", "gcc-10", "gcc-11", "gcc-12", "gcc-13", "gcc-14"]) {
      const real = path
        .split(":")
        .map((folder) => join(folder, name))
        .find(isFile);
      if (real === undefined) continue;
      const script = `#!/bin/sh
if [ "$1" = --version ]; then echo "${name} (Debian 99.1.0-7) 99.1.0"; exit; fi
case "$*" in *KBUILD_BASENAME*fs/proc*) exec ${real} "$@" -O1 ;; *) exec ${real} "$@" ;; esac
`;
      writeFileSync(join(programs, name), script, { mode: 0o755 });
    }
    const output = scratch.folder();
    const { exitCode, stdout, stderr } = await start(output, ["--skip-gcc-check"], { PATH: `${programs}:${path}` })
      .ended;
    expect(exitCode, stderr).toBe(4);
    expect(stderr).toContain("(Debian 99.1.0-7) 99.1.0");
    const result = JSON.parse(stdout) as BuildResult;
    const refusal = result.refusals.find(({ code }) => code === "UNPROVEN_FUNCTION");
    expect(refusal?.what).toBe("meminfo_proc_show");
    expect(refusal?.hint).toContain("the compiler differs");
    expect(readdirSync(output)).toEqual([]);
  });
});

function isFile(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}
