import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder: string;
let program: string;

beforeAll(async () => {
  // Inside the checkout, where the bundle finds its dependencies.
  mkdirSync(join(root, "node_modules", ".cache"), { recursive: true });
  folder = mkdtempSync(join(root, "node_modules", ".cache", "kmend-process-"));
  await build({
    entryPoints: [join(root, "src", "cli", "main.ts")],
    outfile: join(folder, "cli.mjs"),
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "silent",
  });
  program = join(folder, "cli.mjs");
});
afterAll(() => rmSync(folder, { recursive: true }));

test("results go to standard output, and the exit code is the process's", async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [program, "--version"]);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(stderr).toBe("");
  await expect(promisify(execFile)(process.execPath, [program, "bild"])).rejects.toMatchObject({ code: 2, stdout: "" });
});

test("a link to the program works", async () => {
  const link = join(folder, "kmend");
  symlinkSync(program, link);
  const { stdout } = await promisify(execFile)(process.execPath, [link, "--help"]);
  expect(stdout).toContain("Usage: kmend");
});

test("a reader that goes away is no failure", async () => {
  const child = spawn(process.execPath, [program, "doctor"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const exitCode = await new Promise((resolve) => child.on("close", resolve));
  expect(stderr).toBe("");
  expect([0, 5]).toContain(exitCode);
});
