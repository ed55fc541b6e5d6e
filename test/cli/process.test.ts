import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compileC } from "../fixtures/compile.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const bundle = (entry: string, outfile: string, format: "esm" | "cjs" = "esm"): Promise<unknown> =>
  build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    format,
    platform: "node",
    packages: "external",
    logLevel: "silent",
  });
let folder: string;
let program: string;

beforeAll(async () => {
  // Inside the checkout, where the bundle finds its dependencies.
  mkdirSync(join(root, "node_modules", ".cache"), { recursive: true });
  folder = mkdtempSync(join(root, "node_modules", ".cache", "kmend-process-"));
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  await bundle("src/cli/main.ts", join(folder, "cli.mjs"));
  program = join(folder, "cli.mjs");
});
afterAll(() => rmSync(folder, { recursive: true }));

test("results go to standard output, and the exit code is the process's", async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [program, "--version"]);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(stderr).toBe("");
  await expect(promisify(execFile)(process.execPath, [program, "bild"])).rejects.toMatchObject({ code: 2, stdout: "" });
});

test("a long list of pairs is shared with a thread, whatever becomes of it, and the results are in the order of the list", async () => {
  const unit = (body: string): Uint8Array => compileC(`int changes(int x) { ${body} return take(x) + 2; }`);
  writeFileSync(join(folder, "a.o"), unit(""));
  writeFileSync(join(folder, "b.o"), unit("if (x < 0) return 7;"));
  const lines = Array.from({ length: 24 }, (_, at) => `a.o ${at === 5 ? "none" : at % 2 === 0 ? "b" : "a"}.o`);
  writeFileSync(join(folder, "pairs"), lines.join("\n"));
  const worker = join(folder, "diff-worker.cjs");
  for (const kind of ["none", "broken", "real"]) {
    if (kind === "broken") writeFileSync(worker, "throw new Error('broken')");
    if (kind === "real") await bundle("src/build/diff-worker.ts", worker, "cjs");
    const run = promisify(execFile)(process.execPath, [program, "diff", "--batch", "pairs"], { cwd: folder });
    const { code, stdout, stderr } = (await run.catch((error: unknown) => error)) as Record<string, string | number>;
    expect([code, stderr]).toEqual([1, ""]);
    const outcomes = `${stdout}`
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { outcome: string }).outcome);
    expect(outcomes).toEqual(
      lines.map((line) => (/none/.test(line) ? "failed" : /b\.o/.test(line) ? "changed" : "unchanged")),
    );
  }
}, 60_000);

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
