import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CveBuildResult } from "../../src/cve/build-cves.ts";
import type { CveCoverage } from "../../src/cve/coverage.ts";
import { parseKernelVersion } from "../../src/cve/kernel-version.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { CveRepository } from "./cve-repository.ts";
import { append, replace, Scratch, stockKernel, testedKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let repository: CveRepository;
let version: string;
let series: string;
let base: readonly string[];
const commits: Record<string, string> = {};

const sources = ["fs/proc/cmdline.c", "fs/proc/version.c", "fs/proc/uptime.c", "fs/proc/loadavg.c"];

beforeAll(async () => {
  const { kernel, tree } = await stockKernel();
  const found = parseKernelVersion(kernel.packageVersion);
  if (found === undefined) throw new Error(`no version in ${kernel.packageVersion}`);
  version = found.text;
  series = found.series;
  repository = new CveRepository(scratch.folder(), tree.path, version, sources);
  const later = (steps: number): string => `${series}.${(found.parts[2] ?? 0) + steps}`;
  const fix = (number: number, steps: number, name: string, files: readonly string[], further: object = {}): void => {
    const id = `CVE-2026-${number}`;
    const title = `proc: fix ${name}`;
    const fixes = [[later(steps), commits[name] ?? ""] as const, ["99.1", "9".repeat(40)] as const];
    repository.publish({ id, title, files, since: "3.8", fixes, ...further });
  };
  commits["groundwork"] = repository.commit("proc: rename", {
    "fs/proc/version.c": replace("utsname()->version);", "/* renamed */ utsname()->version);"),
  });
  commits["cmdline"] = repository.commit("proc: fix cmdline", {
    "fs/proc/cmdline.c": replace("seq_putc(m, '\\n');", 'seq_puts(m, " fixed\\n");'),
    "Documentation/proc.rst": append("New words.\n"),
    "tools/testing/selftests/proc/cmdline.c": append("int main(void) { return 0; }\n"),
  });
  commits["version"] = repository.commit("proc: fix version", {
    "fs/proc/version.c": replace("/* renamed */ utsname()->version);", 'utsname()->version); seq_puts(m, "fixed\\n");'),
  });
  commits["init"] = repository.commit("proc: fix init", {
    "fs/proc/uptime.c": replace('proc_create_single("uptime", 0, NULL', 'proc_create_single("uptime", 0444, NULL'),
  });
  commits["arm"] = repository.commit("arm64: fix arm", { "arch/arm64/mm/fix.c": append("int fix;\n") });
  commits["unbuilt"] = repository.commit("nubus: fix unbuilt", { "drivers/nubus/nubus.c": append("int fix;\n") });
  commits["loadavg"] = repository.commit("proc: fix loadavg", {
    "fs/proc/loadavg.c": replace(
      "static int loadavg_proc_show(struct seq_file *m, void *v)\n{\n",
      (head) => `${head}\tbarrier();\n\tif (!m)\n\t\treturn -EINVAL;\n`,
    ),
  });
  commits["comment"] = repository.commit("proc: fix comment", {
    "fs/proc/version.c": append("/* Nothing that runs. */\n"),
  });
  fix(1001, 1, "cmdline", ["fs/proc/cmdline.c"], { score: 9.8 });
  fix(1002, 1, "version", ["fs/proc/version.c"], { score: 7.1 });
  fix(1003, 2, "init", ["fs/proc/uptime.c"], { score: 4.2 });
  fix(1004, 2, "arm", ["arch/arm64/mm/fix.c"]);
  fix(1005, 2, "unbuilt", ["drivers/nubus/nubus.c"]);
  fix(1006, 3, "loadavg", ["fs/proc/loadavg.c"]);
  // The same commit under another number.
  fix(1007, 3, "loadavg", ["fs/proc/loadavg.c"]);
  fix(1008, 0, "cmdline", ["fs/proc/cmdline.c"]);
  fix(1009, 1, "cmdline", ["fs/proc/cmdline.c"], { since: "99.0" });
  fix(1010, 1, "cmdline", ["fs/proc/cmdline.c"], { fixes: [["99.1", "9".repeat(40)]] });
  fix(1011, 1, "cmdline", ["fs/proc/cmdline.c"], { furtherCommits: ["8".repeat(40)] });
  fix(1012, 1, "cmdline", ["fs/proc/cmdline.c"], {
    fixes: [
      [later(1), "7".repeat(40)],
      ["99.1", "9".repeat(40)],
    ],
  });
  // Mainline may call a file otherwise than this series does.
  fix(1015, 1, "cmdline", ["fs/proc/elsewhere/cmdline.c"]);
  fix(1016, 4, "comment", ["fs/proc/version.c"]);
  repository.publish({ id: "CVE-2026-1013", title: "", files: [], since: "3.8", fixes: [] }, "rejected");
  writeFileSync(join(repository.records, "cve/published/2026/CVE-2026-1014.json"), "{");
  base = ["--kernel", testedKernel, "--cve-data", repository.records];
});
afterAll(() => scratch.remove());

async function cves(...words: readonly string[]): Promise<CveCoverage> {
  const { exitCode, stdout, stderr } = await kmend("cves", ...base, "--json", ...words);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as CveCoverage;
}

async function byNumber(
  ...words: readonly string[]
): Promise<{ exitCode: number; stderr: string; result: CveBuildResult }> {
  const output = scratch.folder();
  const ended = await kmend("build", ...base, "--json", "-o", output, ...words);
  const result = (ended.stdout === "" ? {} : JSON.parse(ended.stdout)) as CveBuildResult;
  const written = readdirSync(output);
  expect(written).toHaveLength(result.outcome === "built" ? 1 : 0);
  return { ...ended, result };
}

async function manifestOf(path: string): Promise<unknown> {
  return JSON.parse((await kmend("info", path, "--json")).stdout).manifest;
}

function outcomes({ cves: list }: CveBuildResult): Record<string, string> {
  return Object.fromEntries(list.map(({ id, outcome, codes }) => [id.slice(9), [outcome, ...codes].join(" ")]));
}

describe("kmend cves", () => {
  test("each vulnerability has its state on this kernel", async () => {
    const { cves: list, counts, kernel } = await cves();
    expect(kernel.version).toBe(version);
    expect(Object.fromEntries(list.map(({ id, state }) => [id.slice(9), state]))).toEqual({
      ...{ 1001: "open", 1002: "open", 1003: "open", 1004: "not in this configuration" },
      ...{ 1005: "not in this configuration", 1006: "open", 1007: "open", 1010: "no fix", 1011: "open", 1012: "open" },
      ...{ 1015: "open", 1016: "open" },
    });
    expect(counts).toMatchObject({ open: 9, "not in this configuration": 2, "no fix": 1, fixed: 0 });
    expect(list[0]).toMatchObject({
      id: "CVE-2026-1001",
      score: 9.8,
      severity: "critical",
      commit: commits["cmdline"],
    });
  });

  test("filters by score, version and file", async () => {
    const idsOf = async (...words: string[]): Promise<string[]> =>
      (await cves(...words)).cves.map(({ id }) => id.slice(9));
    expect(await idsOf("--min-cvss", "7")).toEqual(["1001", "1002"]);
    expect(await idsOf("--file", "fs/proc/loadavg.c")).toEqual(["1006", "1007"]);
    expect(await idsOf("--file", "arch/arm64")).toEqual(["1004"]);
    const since = await idsOf("--fixed-since", version);
    expect(since).toContain("1008");
    expect(since).not.toContain("1010");
  });

  test("--plan builds what is open, and --report writes it down", async () => {
    const folder = join(scratch.folder(), "coverage");
    const { cves: list } = await cves("--plan", "--git", repository.path, "--report", folder);
    const plans = list.map(({ id, plan }) => [
      id.slice(9),
      plan === null ? null : [plan.state, ...plan.codes].join(" "),
    ]);
    expect(Object.fromEntries(plans)).toEqual({
      ...{ 1001: "closable", 1002: "needs a person PATCH_DOES_NOT_APPLY", 1003: "refused INIT_CODE" },
      ...{ 1004: null, 1005: null, 1006: "closable", 1007: "closable", 1010: null },
      ...{ 1011: "needs a person CVE_WITHOUT_COMMIT", 1012: "needs a person FIX_MISSING" },
      ...{ 1015: "closable", 1016: "not in this configuration" },
    });
    expect(readdirSync(folder).sort()).toEqual(["coverage.html", "coverage.json", "coverage.md"]);
    expect(JSON.parse(readFileSync(join(folder, "coverage.json"), "utf8")).cves).toEqual(list);
    expect(readFileSync(join(folder, "coverage.md"), "utf8")).toMatch(
      /^\| CVE-2026-1003 \| 4\.2 \| refused \(INIT\\_CODE\) \|/m,
    );
    expect(readFileSync(join(folder, "coverage.html"), "utf8")).toContain("<td>closable</td>");
  });

  test.each([
    [["--min-cvss", "11"], "is not a CVSS base score"],
    [["--fixed-since", "soon"], "is not a version of the kernel"],
    [["--fixed-since", "2.6.32"], "is not of the series"],
  ])("%j is wrong usage", async (words, message) => {
    const { exitCode, stderr } = await kmend("cves", ...base, ...words);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });
});

describe("kmend build --cve", () => {
  test("the commit becomes a module that names its CVE, without the files that no unit sees; it works", async () => {
    const before = repository.git("status", "--porcelain=v2", "--branch");
    const { exitCode, result, stderr } = await byNumber("--cve", "CVE-2026-1001", "--git", repository.path);
    expect(exitCode, stderr).toBe(0);
    expect(result.functions.map(({ name, proven }) => [name, proven])).toEqual([["cmdline_proc_show", true]]);
    expect(outcomes(result)).toEqual({ 1001: "built" });
    expect(result.notes).toContainEqual(
      expect.stringContaining("Documentation/proc.rst, tools/testing/selftests/proc/cmdline.c"),
    );
    expect(repository.git("status", "--porcelain=v2", "--branch")).toBe(before);
    const path = result.module?.path ?? "";
    expect(path).toMatch(/\/livepatch-cve-2026-1001\.ko$/);
    expect(await manifestOf(path)).toMatchObject({
      cves: ["CVE-2026-1001"],
      patches: [{ name: `CVE-2026-1001-${commits["cmdline"]?.slice(0, 12)}.patch` }],
    });
    expect((await kmend("info", path)).stdout).toMatch(/^ +fixes +CVE-2026-1001$/m);
    const tried = await kmend("try", path, "--json", "--probe", "cat /proc/cmdline");
    expect(JSON.parse(tried.stdout) as TryResult, tried.stderr).toMatchObject({ verdict: "passed" });
    expect(tried.stdout).toContain(" fixed");
  });

  test("the reviewer's page is written for a fix by its number, built or refused", async () => {
    const [built, refused] = [join(scratch.folder(), "built.html"), join(scratch.folder(), "refused.html")];
    const { exitCode, stderr } = await byNumber(
      ...["--cve", "CVE-2026-1001", "--git", repository.path, "--report", built],
    );
    expect(exitCode, stderr).toBe(0);
    const page = readFileSync(built, "utf8");
    expect(
      ["cmdline_proc_show", "1 of 1 changed function", "kmend build --cve CVE-2026-1001 --kernel"].filter(
        (part) => !page.includes(part),
      ),
    ).toEqual([]);
    expect((await byNumber("--cve", "CVE-2026-1003", "--git", repository.path, "--report", refused)).exitCode).toBe(4);
    expect(["INIT_CODE", "CVE-2026-1003"].filter((part) => !readFileSync(refused, "utf8").includes(part))).toEqual([]);
  });

  test("what a fix rests on is offered, and taken", async () => {
    const alone = await byNumber("--cve", "CVE-2026-1002", "--git", repository.path);
    expect(alone.exitCode).toBe(1);
    expect(alone.stderr).toContain("error[PATCH_DOES_NOT_APPLY]");
    expect(alone.stderr).toContain(`${commits["groundwork"]?.slice(0, 12)} (proc: rename)`);
    expect(alone.stderr).toContain(`--with ${commits["groundwork"]} builds it together`);
    const words = ["--cve", "CVE-2026-1002", "--git", repository.path, "--with", commits["groundwork"] as string];
    const { exitCode, result, stderr } = await byNumber(...words);
    expect(exitCode, stderr).toBe(0);
    expect(result.functions.map(({ name }) => name)).toEqual(["version_proc_show"]);
  });

  test("several numbers make one module, all or none", async () => {
    const words = [
      "--cve",
      "CVE-2026-1006",
      "--cve",
      "CVE-2026-1001",
      "--cve",
      "CVE-2026-1007",
      "--git",
      repository.path,
    ];
    const { exitCode, result, stderr } = await byNumber(...words);
    expect(exitCode, stderr).toBe(0);
    expect(result.functions.map(({ name }) => name).sort()).toEqual(["cmdline_proc_show", "loadavg_proc_show"]);
    expect(await manifestOf(result.module?.path ?? "")).toMatchObject({
      cves: ["CVE-2026-1001", "CVE-2026-1006", "CVE-2026-1007"],
      patches: [{ name: /^CVE-2026-1001-/ }, { name: /^CVE-2026-1006-and-1-/ }].map(({ name }) => ({
        name: expect.stringMatching(name),
      })),
    });
    const refused = await byNumber("--cve", "CVE-2026-1003", "--cve", "CVE-2026-1001", "--git", repository.path);
    expect(refused.exitCode).toBe(4);
    expect(outcomes(refused.result)).toEqual({ 1001: "refused INIT_CODE", 1003: "refused INIT_CODE" });
  });

  test("--all-cves puts all that can be into one module, and tells of the others", async () => {
    const { exitCode, result, stderr } = await byNumber("--all-cves", "--git", repository.path);
    expect(exitCode, stderr).toBe(0);
    expect(outcomes(result)).toEqual({
      ...{ 1001: "built", 1002: "needs a person PATCH_DOES_NOT_APPLY", 1003: "refused INIT_CODE" },
      ...{ 1006: "built", 1007: "built", 1012: "needs a person FIX_MISSING" },
      ...{ 1015: "built", 1016: "unchanged" },
    });
    expect(await manifestOf(result.module?.path ?? "")).toMatchObject({
      cves: ["CVE-2026-1001", "CVE-2026-1006", "CVE-2026-1007", "CVE-2026-1015"],
    });
    expect(result.functions.map(({ name }) => name).sort()).toEqual(["cmdline_proc_show", "loadavg_proc_show"]);
    expect(stderr).toContain("CVE-2026-1011: the records do not say which commit fixes it");
  });

  test("a fix that changes nothing here is never named by a module", async () => {
    const { exitCode, stderr } = await byNumber(
      "--cve",
      "CVE-2026-1001",
      "--cve",
      "CVE-2026-1016",
      "--git",
      repository.path,
    );
    expect(exitCode, stderr).toBe(3);
    expect(stderr).toContain(
      "error[CVE_CHANGES_NOTHING]: no code of this kernel changes with the fix of CVE-2026-1016",
    );
  });

  test.each([
    ["CVE-2026-9999", 2, "CVE_UNKNOWN", "kmend cves --update"],
    ["CVE-2026-1014", 2, "CVE_UNKNOWN", "it is not JSON"],
    ["CVE-2026-1013", 2, "CVE_REJECTED", "withdrawn"],
    ["CVE-2026-1009", 3, "CVE_NOT_AFFECTED", "99.0 to"],
    ["CVE-2026-1008", 3, "CVE_FIXED", "it came with"],
    ["CVE-2026-1010", 4, "CVE_NO_FIX", "it was fixed in 99.1"],
    ["CVE-2026-1011", 4, "CVE_WITHOUT_COMMIT", "which commit of"],
    ["CVE-2026-1012", 1, "FIX_MISSING", "fetch --tags"],
    ["CVE-1", 2, "USAGE", "not the number of a vulnerability"],
  ])("%s ends with %d and %s", async (id, code, word, said) => {
    const { exitCode, stderr } = await byNumber("--cve", id, "--git", repository.path);
    expect(exitCode, stderr).toBe(code);
    expect(stderr).toContain(`error[${word}]`);
    expect(stderr).toContain(said);
  });

  test("clones that cannot serve say why", async () => {
    const folder = scratch.folder();
    execFileSync("git", ["clone", "--quiet", "--depth=1", `file://${repository.path}`, join(folder, "shallow")]);
    execFileSync("git", ["init", "--quiet", join(folder, "other")]);
    const words = ["--cve", "CVE-2026-1001", "--git"];
    const shallow = await byNumber(...words, join(folder, "shallow"));
    expect(shallow.stderr).toContain("it is a shallow clone");
    expect(shallow.stderr).toContain("fetch --unshallow --tags");
    expect((await byNumber(...words, join(folder, "other"))).stderr).toContain("it may be of another project");
    const none = await byNumber(...words, folder);
    expect(none.exitCode).toBe(2);
    expect(none.stderr).toContain("error[NOT_A_GIT_CLONE]");
  });

  test.each([
    [["fix.patch", "--cve", "CVE-2026-1001"], "patches do not go with --cve"],
    [["--all-cves", "--cve", "CVE-2026-1001"], "exclude each other"],
    [["--cve", "CVE-2026-1001", "--git", ".", "--patch-url", "https://example.org/{commit}"], "exclude each other"],
    [["--cve", "CVE-2026-1001", "--patch-url", "https://example.org/"], "has no {commit}"],
    [["--cve", "CVE-2026-1001", "--patch-url", "http://example.org/{commit}"], "only HTTPS says whose it is"],
    [["--cve", "CVE-2026-1001", "--git", "REPOSITORY", "--with", "abc"], "not the full name of a commit"],
  ])("%j is wrong usage", async (words, said) => {
    const { exitCode, stderr } = await byNumber(
      ...words.map((word) => (word === "REPOSITORY" ? repository.path : word)),
    );
    expect(exitCode, stderr).toBe(2);
    expect(stderr).toContain(said);
  });
});
