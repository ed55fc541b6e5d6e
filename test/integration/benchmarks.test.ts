import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { upstreamVersion } from "../../src/kernel/sources/distribution/debian-version.ts";
import { kmend } from "../cli/captured.ts";
import { type Ended, runProgram } from "./fresh-root.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";
import { pairOfVersions } from "./version-pair.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

const program = fileURLToPath(new URL("../../dist/bench/run.js", import.meta.url));

function bench(...words: string[]): Ended {
  return runProgram(process.execPath, [program, ...words]);
}

const ratio = /^ {2}\S+\.patch(?: +\d+\.\d\d s){3} +\d+\.\d\d +\d+ MiB +\d+ MiB$/m;

test.each([
  ["build", ratio],
  ["kernel", /^ {2}[2-9]\d* +(\d+) of \1 /m],
  ["diff", /^ {2}[2-9]\d* .* changed$/m],
])("%s runs once in its shortest form", (name, row) => {
  const { exitCode, output } = bench(name, "--short");
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(row);
});

test("fixes builds one of the kernel's own fixes", async () => {
  const { from, to } = await pairOfVersions();
  const { exitCode, output } = bench("fixes", "--short", "--from", from, "--to", to);
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(/^1\/1 (built|refused|unchanged) /m);
  expect(output).toMatch(/^\| failed \| 0 \|/m);
});

test("fixes takes one back on a kernel that has it", async () => {
  const { from, to } = await pairOfVersions();
  const { exitCode, output } = bench("fixes", "--short", "--from", from, "--to", to, "--onto", to);
  expect(exitCode, output).toBe(0);
  expect(output).toContain(`taken back on ${to}: `);
  expect(output).toMatch(/^1\/1 (built|refused|unchanged) /m);
  expect(output).toMatch(/^\| failed \| 0 \|/m);
});

test("cves builds the fix of a vulnerability that is the only one of its file", async () => {
  const { from } = await pairOfVersions();
  const { kernel, tree } = await stockKernel();
  const sources = readdirSync(join(tree.path, "fs/proc")).filter((name) => name.endsWith(".c"));
  const rows = sources.map(
    (name, at) => `CVE-2026-${1000 + at}\t${upstreamVersion(kernel.packageVersion)}\t\tfs/proc/${name}\ta title`,
  );
  const table = scratch.file("cves.tsv", ["cve\tfixed_in\tcvss_vector\tfiles\ttitle", ...rows].join("\n"));
  const { exitCode, output } = bench("cves", "--table", table, "--within", "fs/proc", "--limit", "1");
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(
    new RegExp(
      `${from.replaceAll(/[.+~]/g, "\\$&")} → \\S+: [1-9]\\d* vulnerabilities, [1-9]\\d* of them cases; 1 are built`,
    ),
  );
  expect(output).toMatch(/^1\/1 (built|refused|unchanged|joined|incomplete) CVE-2026-/m);
});

test("no source and no module that differs in one place goes unseen", () => {
  const { exitCode, output } = bench("mutants", "--units", "3", "--each", "3", "--modules", "300", "--seed", "sample");
  expect(output).toMatch(/^\d+ mutants of \d+ units, 0 to be looked at$/m);
  expect(output).toMatch(/^300 mutants of finished modules, 0 to be looked at$/m);
  // Most of the mutants have to be found by the proof, or this shows nothing.
  const unproven = output.split("\n").filter((line) => /^\d+ unproven /.test(line));
  expect(unproven.length, output).toBeGreaterThan(5);
  expect(exitCode, output).toBe(0);
});

test("matrix takes cells through a queue", () => {
  const { exitCode, output } = bench("matrix", "--short");
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(
    /^ +500 simulated cells: added +\d+ a second, done +\d+ a second, \d+ bytes of Redis for each$/m,
  );
});

test("replace puts a unit's functions in force, and the kernel works as before", () => {
  const { exitCode, output } = bench("replace", "--short", "--seed", "sample");
  expect(output).toMatch(/^ {2}in force +1 +[2-9]\d functions$/m);
  expect(output).toMatch(/^ {2}runs of loads +[1-9]/m);
  expect(output).toMatch(/^ {2}differences +0$/m);
  expect(exitCode, output).toBe(0);
});

test("report opens a page in the browser", async () => {
  const { kernel } = await stockKernel();
  const page = join(scratch.folder(), "page.html");
  const patch = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
  expect((await kmend("report", patch, "--kernel", kernel.release, "-o", page)).exitCode).toBe(0);
  const { exitCode, output } = bench("report", page);
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(/^ {2}page\.html +\d+ KiB +\d{3,} +\d+\.\d\d s +\d+\.\d\d s$/m);
});

test("every benchmark that the help names is run here", () => {
  const { output } = bench("--help");
  const named = [...output.matchAll(/^ {2}(\w+) {2,}\S/gm)].map((match) => match[1]);
  expect(named).toEqual(["build", "kernel", "diff", "fixes", "cves", "mutants", "matrix", "replace", "report", "fuzz"]);
});

test("fuzz finds nothing in a few hundred inputs of each parser", () => {
  const { exitCode, output } = bench("fuzz", "200");
  expect(exitCode, output).toBe(0);
  const rows = [...output.matchAll(/^ {2}(\w+) +200 +\d+ MiB +0$/gm)].map((match) => match[1]);
  expect(rows).toEqual([
    ...[
      "elf",
      "pairs",
      "match",
      "btf",
      "dwarf",
      "manifest",
      "records",
      "dyads",
      "mails",
      "tarballs",
      "images",
      "repros",
      "symvers",
      "symbols",
      "patches",
    ],
    ...["text", "yaml"],
  ]);
});

test.each([
  ["a parser that does not exist", ["fuzz", "nonsense"], 2, "error[USAGE]: no parser is named nonsense"],
  ["a table that is not there", ["cves", "--table", "/nowhere/table"], 2, "error[USAGE]: ENOENT"],
  ["no page", ["report"], 2, "error[USAGE]: no page was given"],
  ["a page that is not there", ["report", "/nowhere/page.html"], 2, "error[USAGE]: ENOENT"],
  [
    "a word in place of a number of workers",
    ["matrix", "--only", "simulation", "--cells", "few"],
    2,
    "error[USAGE]: not a list of numbers: few",
  ],
  ["a load that does not exist", ["replace", "--load", "nonsense"], 2, "error[USAGE]: no load is named nonsense"],
  ["no table", ["cves"], 2, "error[USAGE]: --table FILE is missing"],
  ["an unknown name", ["nonsense"], 2, "error[USAGE]: no benchmark is named nonsense"],
  ["an unknown option", ["diff", "--fast"], 2, "error[USAGE]: no such option: --fast"],
  ["a word in place of a number", ["fixes", "--limit", "few"], 2, "error[USAGE]: not a number: few"],
  ["a word in place of a number of mutants", ["mutants", "--units", "few"], 2, "error[USAGE]: not a number: few"],
  ["versions that are not there", ["fixes", "--from", "0.1", "--to", "0.2"], 2, "error[NO_VERSION_PAIR]: "],
  ["an image that is not there", ["measure-image", "/nowhere/vmlinuz", "/nowhere/cache"], 1, "error["],
])("%s ends a benchmark with a clear error", (_, words, code, said) => {
  const { exitCode, output } = bench(...words);
  expect(exitCode, output).toBe(code);
  expect(output).toContain(said);
  expect(output).not.toMatch(/^ +at .*:\d+:\d+/m);
});
