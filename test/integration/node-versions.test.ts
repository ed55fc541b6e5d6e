import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runProgram } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const asked = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** The oldest version of Node that package.json allows, and the newer ones with long support; npm's package `node` brings each. */
describe.skipIf(!asked).each(["20.19", "22", "24"])("Node %s", (version) => {
  let env: Readonly<Record<string, string>>;

  beforeAll(() => {
    const place = scratch.folder();
    const words = ["install", "--prefix", place, "--no-audit", "--no-fund", `node@${version}`];
    const installed = runProgram("npm", words);
    expect(installed.exitCode, installed.output).toBe(0);
    const programs = join(place, "node_modules", ".bin");
    expect(existsSync(join(programs, "node"))).toBe(true);
    env = { PATH: [programs, process.env["PATH"]].join(delimiter) };
    expect(runProgram("node", ["--version"], env).output).toMatch(new RegExp(`^v${version.replaceAll(".", "\\.")}\\.`));
  });

  test("builds a patch module and tries it", { timeout: 1_200_000 }, () => {
    const example = join(root, "examples", "meminfo-string.patch");
    const words = ["try", example, "--kernel", "newest", "--probe", "grep -i memfree /proc/meminfo | cut -d: -f1"];
    const { exitCode, output } = runProgram(join(root, "bin", "kmend"), words, env);
    expect(exitCode, output).toBe(0);
    expect(output).toMatch(/^passed: /m);
  });

  test("passes the unit tests", { timeout: 3_600_000 }, () => {
    const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
    const { exitCode, output } = runProgram("node", [vitest, "run", "--root", root, "--project", "unit"], env);
    expect(exitCode, output.slice(-8000)).toBe(0);
    expect(output).toMatch(/Tests .*\d+ passed/);
  });
});
