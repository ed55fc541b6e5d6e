import { execFileSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { chmod, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { compareCompiler, compilerVersion, requireSameCompiler } from "../../src/kernel/compiler.ts";
import { parseBanner } from "../../src/kernel/image/banner.ts";

let folder: string;
let path: string | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kmend-compiler-"));
  path = process.env["PATH"];
  process.env["PATH"] = folder;
});
afterEach(async () => {
  process.env["PATH"] = path;
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, versionLine: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\necho '${versionLine}'\necho Copyright\n`);
  await chmod(join(folder, name), 0o755);
}

const kernelOf = (compiler: string) => parseBanner(`Linux version 6.1.0 (a@b) (${compiler}, GNU ld 2.40) #1`);

test("the program that the kernel names comes first", async () => {
  await program("gcc-12", "gcc-12 (Debian 12.2.0-9) 12.2.0");
  await program("gcc", "gcc (Debian 13.1.0-2) 13.1.0");
  const comparison = await compareCompiler(kernelOf("gcc-12 (Debian 12.2.0-9) 12.2.0"));
  expect(comparison).toMatchObject({ same: true, program: "gcc-12" });
  requireSameCompiler(comparison);
});

test("gcc stands in when it is the same package", async () => {
  await program("gcc", "gcc (Debian 12.2.0-9) 12.2.0");
  const comparison = await compareCompiler(kernelOf("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-9) 12.2.0"));
  expect(comparison).toMatchObject({ same: true, program: "gcc" });
});

test("another revision of the same compiler version is another compiler", async () => {
  await program("gcc-12", "gcc-12 (Debian 12.2.0-9+deb12u1) 12.2.0");
  const comparison = await compareCompiler(kernelOf("gcc-12 (Debian 12.2.0-9) 12.2.0"));
  expect(comparison.same).toBe(false);
  expect(() => requireSameCompiler(comparison)).toThrow(
    expect.objectContaining({
      code: "COMPILER_DIFFERS",
      why: "kernel: gcc-12 (Debian 12.2.0-9) 12.2.0\nhere:   gcc-12 (Debian 12.2.0-9+deb12u1) 12.2.0",
      exitCode: 5,
    }),
  );
});

test("the form that old kernels print", async () => {
  await program("gcc", "gcc (Debian 6.3.0-18) 6.3.0 20170516");
  const comparison = await compareCompiler(kernelOf("gcc version 6.3.0 20170516 (Debian 6.3.0-18) "));
  expect(comparison).toMatchObject({ same: true, program: "gcc" });
});

test("a script under a compiler's name is asked each time", async () => {
  await program("gcc", "gcc (Debian 12.2.0-9) 12.2.0");
  expect(await compilerVersion("gcc")).toBe("gcc (Debian 12.2.0-9) 12.2.0");
  await program("gcc", "gcc (Debian 13.1.0-2) 13.1.0");
  expect(await compilerVersion("gcc")).toBe("gcc (Debian 13.1.0-2) 13.1.0");
});

test("a compiler itself says its version once, by each of its names", async () => {
  const env = { PATH: path ?? "" };
  const real = realpathSync(execFileSync("/bin/sh", ["-c", "command -v gcc"], { env, encoding: "utf8" }).trim());
  const cache = process.env["KMEND_CACHE"];
  process.env["KMEND_CACHE"] = join(folder, "cache");
  try {
    await symlink(real, join(folder, "gcc"));
    await symlink(real, join(folder, "other-gcc"));
    const told = await compilerVersion("gcc");
    expect(told).toMatch(/^gcc .*\d/);
    expect(await compilerVersion("other-gcc")).toMatch(/^other-gcc .*\d/);
    const records = join(folder, "cache", "compilers", "gcc");
    const [name = ""] = await readdir(records);
    await writeFile(join(records, name), "remembered 1");
    expect(await compilerVersion("gcc")).toBe("remembered 1");
    await writeFile(join(records, name), "");
    expect(await compilerVersion("gcc")).toBe(told);
  } finally {
    if (cache === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = cache;
  }
});

test("no compiler at all", async () => {
  await expect(compareCompiler(kernelOf("gcc-12 (Debian 12.2.0-9) 12.2.0"))).rejects.toMatchObject({
    code: "PROGRAM_MISSING",
    hint: "install it: sudo apt-get install gcc-12",
  });
});
