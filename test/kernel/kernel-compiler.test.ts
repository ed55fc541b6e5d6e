import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type KernelBanner, parseBanner } from "../../src/kernel/image/banner.ts";
import { type CompilerChoice, chooseCompiler, foreseeCompiler } from "../../src/kernel/roots/kernel-compiler.ts";
import type { CompilerArchive } from "../../src/kernel/sources/distribution/compiler-archive.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { SilentProgress } from "../../src/support/progress.ts";

const line = "gcc-14 (Debian 14.9.0-19) 14.9.0";
const banner: KernelBanner = parseBanner(`Linux version 6.12.9 (a@b) (x86_64-linux-gnu-${line}, GNU ld 2.44) #1`);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kmend-roots-"));
  vi.stubEnv("KMEND_CACHE", join(folder, "cache"));
  vi.stubEnv("FORBIDDEN", "0");
  vi.stubEnv("PATH", `${join(folder, "bin")}:/usr/bin:/bin`);
  await mkdir(join(folder, "cache"), { mode: 0o700 });
  await mkdir(join(folder, "bin"));
  // Namespaces need rights that a test may lack: the compiler of the root is called where it lies.
  await program(
    "unshare",
    'case "$*" in *"mount --rbind /usr /usr") exit $FORBIDDEN;; esac',
    'while [ "$1" != sh ]; do shift; done',
    'root=$4 program=$6; shift 6; exec "$root$program" "$@"',
  );
  await program("gcc", "echo 'gcc (Debian 12.9.0-1) 12.9.0'");
  await program("x86_64-linux-gnu-gcc-14", "exit 1");
  await mmdebstrap(`x86_64-linux-gnu-${line}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, ...lines: readonly string[]): Promise<void> {
  const path = join(folder, "bin", name);
  await writeFile(path, ["#!/bin/sh", ...lines, ""].join("\n"));
  await chmod(path, 0o755);
}

/** Makes a root whose compiler says that of itself, and notes how it was called. */
async function mmdebstrap(version: string, end = ""): Promise<void> {
  await program(
    "mmdebstrap",
    `echo "$@" >> ${folder}/calls`,
    'for word; do case "$word" in *.tar) tar=$word;; esac; done',
    `made=${folder}/made; mkdir -p $made/usr/bin $made/usr/share/doc/gcc`,
    `printf '#!/bin/sh\\necho "${version}"\\n' > $made/usr/bin/x86_64-linux-gnu-gcc-14`,
    "chmod 755 $made/usr/bin/x86_64-linux-gnu-gcc-14",
    'tar -c -f "$tar" -C $made .',
    end,
  );
}

async function calls(): Promise<string[]> {
  return (await readFile(join(folder, "calls"), "utf8").catch(() => "")).split("\n").filter((text) => text !== "");
}

function archive(...versions: readonly string[]): CompilerArchive {
  return {
    name: "some.sources",
    offered: async () => versions.map((version) => ({ name: "gcc-14", version, size: 1 })),
    sources: async () => ["/some.sources"],
  };
}

function kernelOf(compilers: CompilerArchive | undefined): TargetKernel {
  return { image: { banner }, folder: join(folder, "cache/kernels/abc"), compilers } as unknown as TargetKernel;
}

function choose(compilers: CompilerArchive | undefined, skipCompilerCheck = false): Promise<CompilerChoice> {
  return chooseCompiler(kernelOf(compilers), { skipCompilerCheck, progress: new SilentProgress() });
}

test("a compiler that is not here comes from the kernel's archive, and is made once", async () => {
  const { compiler, kernel } = await choose(archive("14.9.0-19"));
  expect(compiler).toMatchObject({ same: true, here: `x86_64-linux-gnu-${line}` });
  expect(compiler.program).toMatch(/\/cache\/roots\/gcc-14_14\.9\.0-19-[0-9a-f]{12}\/bin\/x86_64-linux-gnu-gcc-14$/);
  expect(kernel.folder).toMatch(/\/kernels\/abc\/compiler-[0-9a-f]{12}$/);
  const [call] = await calls();
  expect(call).toContain("--include=gcc-14=14.9.0-19 ");
  expect(call?.endsWith(".tar /some.sources")).toBe(true);
  expect((await choose(undefined)).compiler).toEqual(compiler);
  expect(await calls()).toHaveLength(1);
  const [name] = await readdir(join(folder, "cache/roots"));
  expect(await readdir(join(folder, "cache/roots", name as string, "root/usr"))).toEqual(
    expect.arrayContaining(["bin", "local", "src"]),
  );
  expect(await readdir(join(folder, "cache/roots", name as string, "root/usr/share"))).toEqual([]);
});

test("the installed compiler of the kernel needs no root, and shares the folder of the kernel", async () => {
  await program("x86_64-linux-gnu-gcc-14", `echo "x86_64-linux-gnu-${line}"`);
  const { compiler, kernel } = await choose(archive("14.9.0-19"));
  expect(compiler.program).toBe("x86_64-linux-gnu-gcc-14");
  expect(kernel.folder.endsWith("/kernels/abc")).toBe(true);
  expect(await calls()).toEqual([]);
});

test("another compiler that the user insists on has a tree of its own", async () => {
  const { compiler, kernel } = await choose(archive("14.9.0-19"), true);
  expect(compiler).toMatchObject({ same: false, program: "gcc" });
  expect(kernel.folder).toMatch(/\/kernels\/abc\/compiler-/);
  expect(await calls()).toEqual([]);
});

test("an archive that dropped the version names those that it has", async () => {
  await expect(choose(archive("14.9.0-2", "14.10.0-1"))).rejects.toMatchObject({
    code: "COMPILER_DIFFERS",
    where: "some.sources",
    why: expect.stringContaining("which the archive does not offer: it has gcc-14 14.9.0-2, 14.10.0-1, not 14.9.0-19"),
    hint: expect.stringMatching(/--archive FILE.*--skip-gcc-check: the proof then decides/),
  });
  await expect(choose(archive())).rejects.toMatchObject({ why: expect.stringContaining("it has no gcc-14") });
  await expect(choose(undefined)).rejects.toMatchObject({ code: "COMPILER_DIFFERS" });
});

test("without root and without namespaces nothing is downloaded", async () => {
  vi.stubEnv("FORBIDDEN", "1");
  await expect(choose(archive("14.9.0-19"))).rejects.toMatchObject({
    code: "COMPILER_DIFFERS",
    exitCode: 5,
    why: expect.stringMatching(/kernel: .*14\.9\.0-19[\s\S]*here: .*12\.9\.0-1[\s\S]*may not mount anything/),
    hint: expect.stringMatching(/--skip-gcc-check/),
  });
  expect(await calls()).toEqual([]);
});

test("a root that was interrupted leaves nothing, and is made again", async () => {
  await mmdebstrap(line, "echo 'E: cannot reach the archive' >&2; exit 1");
  await expect(choose(archive("14.9.0-19"))).rejects.toMatchObject({
    code: "BUILD_ROOT_FAILED",
    why: expect.stringContaining("cannot reach the archive"),
  });
  expect(await readdir(join(folder, "cache/roots"))).toEqual([]);
  // What a killed run leaves has the number of a process that is gone.
  const left = join(folder, `cache/roots/.gcc-14_14.9.0-19-000000000000.${2 ** 22 + 5}.00000000.tmp`);
  await mkdir(join(left, "bin"), { recursive: true });
  await mmdebstrap(line);
  expect((await choose(archive("14.9.0-19"))).compiler.same).toBe(true);
  expect((await readdir(join(folder, "cache/roots"))).filter((name) => name.startsWith("."))).toEqual([]);
});

test("a full disk is told as that", async () => {
  await mmdebstrap(line, "echo 'tar: write error: No space left on device' >&2; exit 1");
  await expect(choose(archive("14.9.0-19"))).rejects.toMatchObject({ code: "NO_SPACE" });
});

test("a root with another compiler than the kernel's is not used", async () => {
  await mmdebstrap("x86_64-linux-gnu-gcc-14 (Debian 14.9.0-20) 14.9.0");
  await expect(choose(archive("14.9.0-19"))).rejects.toMatchObject({
    code: "BUILD_ROOT_FAILED",
    message: "the compiler of the build root is not the kernel's",
  });
});

test("what would be fetched is told without fetching it", async () => {
  const compiler = banner.compiler;
  expect(await foreseeCompiler(kernelOf(archive("14.9.0-19")))).toEqual({
    ...{ from: "archive", compiler, archive: "some.sources" },
    packages: [{ name: "gcc-14", version: "14.9.0-19", size: 1 }],
  });
  expect(await foreseeCompiler(kernelOf(archive("14.9.0-2")))).toEqual({
    ...{ from: "nowhere", compiler },
    problem: "it is not installed, and some.sources has gcc-14 14.9.0-2, not 14.9.0-19",
  });
  expect(await foreseeCompiler(kernelOf(undefined))).toMatchObject({ from: "nowhere" });
  expect(await calls()).toEqual([]);
  const { compiler: chosen } = await choose(archive("14.9.0-19"));
  expect(await foreseeCompiler(kernelOf(undefined))).toEqual({
    ...{ from: "cached root", compiler, program: chosen.program },
  });
  await program("x86_64-linux-gnu-gcc-14", `echo "x86_64-linux-gnu-${line}"`);
  expect(await foreseeCompiler(kernelOf(undefined))).toMatchObject({ from: "installed" });
});
