import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { Scratch } from "./stock-kernel.ts";
import { suiteSources } from "./suite-sources.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const long = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** Downloads some 250 MB, and prepares a tree of its own. */
describe.skipIf(!long)("a kernel of the other Debian release", { timeout: 3_600_000 }, () => {
  let archive: string;
  beforeAll(() => {
    const own = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
    const other = own === "trixie" ? "bookworm" : "trixie";
    archive = scratch.file("other.sources", suiteSources(other) ?? "");
  });

  test("is patched with its own compiler, which this machine does not have", async () => {
    const words = ["--kernel", "newest", "--archive", archive];
    const told = await kmend("doctor", ...words, "--json");
    const { compiler } = JSON.parse(told.stdout) as { compiler: { from: string; compiler: string } };
    expect(["archive", "cached root"]).toContain(compiler.from);
    const probe = "grep -i memfree /proc/meminfo | cut -d: -f1";
    const { exitCode, stdout, stderr } = await kmend("try", example, ...words, "--probe", probe, "--json");
    expect(exitCode, stderr).toBe(0);
    const { verdict, probes } = JSON.parse(stdout) as TryResult;
    expect(verdict).toBe("passed");
    expect(probes[0]).toMatchObject({ before: "MemFree", loaded: "MemFREE", after: "MemFree" });
    const again = await kmend("doctor", ...words, "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ compiler: { from: "cached root" } });
    const { stdout: listed } = await kmend("cache", "--json");
    const { contents } = JSON.parse(listed) as { contents: { kind: string; size: number }[] };
    expect(contents.find(({ kind }) => kind === "root")?.size).toBeGreaterThan(50 * 2 ** 20);
  });
});
