import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseBanner } from "../../src/kernel/image/banner.ts";
import { cachedRoot, makeRoot } from "../../src/kernel/roots/build-root.ts";
import { planRoot, type WantedCompiler, wantedCompiler } from "../../src/kernel/roots/wanted-compiler.ts";
import { machineArchive } from "../../src/kernel/sources/distribution/apt-archive.ts";
import { aptCompilers } from "../../src/kernel/sources/distribution/apt-compilers.ts";
import { SilentProgress } from "../../src/support/progress.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-root-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The compiler that the archive offers for this machine's own release, as a kernel would name it. */
function offeredCompiler(): WantedCompiler {
  const stanza = execFileSync("apt-cache", ["show", "--no-all-versions", "gcc"], { encoding: "utf8" });
  const name = /^Depends:.*\b(gcc-\d+)\b/m.exec(stanza)?.[1] as string;
  const policy = execFileSync("apt-cache", ["policy", name], { encoding: "utf8" });
  const version = /Candidate: (\S+)/.exec(policy)?.[1] as string;
  const line = `${name} (Debian ${version}) ${/^[\d.]+/.exec(version)?.[0]}`;
  return wantedCompiler(parseBanner(`Linux version 6.1.0 (a@b) (${line}, GNU ld 2) #1`)) as WantedCompiler;
}

test("a compiler of a build root compiles what lies outside of it, with the assembler of the root", async () => {
  const compiler = offeredCompiler();
  const context = { cache: join(folder, "cache"), progress: new SilentProgress() };
  mkdirSync(context.cache, { mode: 0o700 });
  const archive = aptCompilers({ ...context, apt: await machineArchive() });
  const plan = await planRoot(compiler, archive);
  if ("neighbours" in plan) throw new Error(`the archive has ${plan.neighbours.join(", ")}`);
  const program = await makeRoot(plan, archive, context);
  expect(await cachedRoot(compiler, context.cache)).toBe(program);

  const call = (...words: readonly string[]): string =>
    execFileSync(program, words, { cwd: folder, encoding: "utf8", env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } });
  expect(call("--version").split("\n")[0]).toContain(compiler.version);
  // It runs its own assembler, and nothing outside of the root says so.
  const root = join(program, "../../root");
  expect(call("-print-prog-name=cc1")).toMatch(/^\/usr\/lib\/gcc\//);
  expect(readdirSync(join(root, "usr/bin"))).toContain("as");
  writeFileSync(join(folder, "a.h"), "#define N 7\n");
  writeFileSync(join(folder, "a.c"), '#include "a.h"\nint f(void) { return N; }\n');
  call("-O2", "-c", "a.c", "-o", join(folder, "a.o"), "-MD", "-MF", "a.d");
  expect(readFileSync(join(folder, "a.o")).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  expect(readFileSync(join(folder, "a.d"), "utf8")).toMatch(/^\S*a\.o: a\.c a\.h\s*$/);
  // This machine's own programs are what they were.
  expect(execFileSync("sh", ["-c", "mount | grep -c kmend-root- || true"], { encoding: "utf8" }).trim()).toBe("0");
  expect(() => call("-c", "missing.c")).toThrow(/missing\.c: No such file or directory/);
}, 600_000);
