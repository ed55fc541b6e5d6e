import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { kmend } from "../cli/captured.ts";
import { programFolder, runProgram } from "./fresh-root.ts";
import { type Built, removeTree, Scratch } from "./stock-kernel.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const zramExample = fileURLToPath(new URL("../../examples/zram-module.patch", import.meta.url));
const launcher = fileURLToPath(new URL("../../bin/kmend", import.meta.url));
const scratch = new Scratch();
const tree = join(scratch.path, "linux");
let stock: TargetKernel;

beforeAll(async () => {
  stock = await findTargetKernel({ kernel: "newest" });
  const source = await stock.source();
  mkdirSync(tree);
  execFileSync("tar", ["-xf", source.path, "-C", tree, "--strip-components=1"], {
    env: { ...process.env, XZ_DEFAULTS: "-T0" },
  });
});
afterAll(() => {
  const trees = join(cacheRoot(), "trees");
  for (const name of readdirSync(trees)) {
    const path = readFileSync(join(trees, name, "path"), "utf8");
    if (path.startsWith(scratch.path)) removeTree(join(trees, name));
  }
  scratch.remove();
});

/** Names, sizes, modes, and times of content and entry, of everything in the tree. */
function fingerprint(): string {
  const lines = execFileSync("find", [tree, "-printf", "%P %s %m %T@ %C@ %l\n"], { maxBuffer: 1 << 28 });
  return createHash("sha256").update(lines).digest("hex");
}

/** The stock kernel's files, given one by one as those of a kernel that no package manager knows. */
const options = (): string[] => {
  const files = ["--image", stock.imagePath, "--config", stock.configPath, "--symvers", stock.symversPath];
  return ["--source", tree, ...files];
};

async function build(patch: string, ...more: readonly string[]): Promise<Built> {
  const words = ["build", patch, "--json", "--output", scratch.folder(), ...more];
  const { exitCode, stdout, stderr } = await kmend(...words);
  return { exitCode, stderr, result: JSON.parse(stdout) as BuildResult };
}

function expectProven({ exitCode, stderr, result }: Built): BuildResult {
  expect(exitCode, stderr).toBe(0);
  expect(result.outcome).toBe("built");
  expect(result.kernel).toEqual({ release: stock.release, buildId: stock.buildId });
  expect(result.functions.map(({ name, proven }) => [name, proven])).toEqual([["meminfo_proc_show", true]]);
  return result;
}

function git(...words: readonly string[]): void {
  const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"];
  execFileSync("git", ["-C", tree, ...who, ...words], { stdio: "ignore" });
}

describe("a source tree of the user's", () => {
  test("builds what the packages build, is not touched, and is prepared once", async () => {
    const before = fingerprint();
    const first = expectProven(await build(example, ...options()));
    expect(first.milliseconds).toHaveProperty("prepare");
    expect(fingerprint()).toBe(before);
    const second = expectProven(await build(example, ...options()));
    expect(second.milliseconds).not.toHaveProperty("prepare");
    expect(second.module?.sha256).toBe(first.module?.sha256);
    const { stdout } = await kmend("build", example, "--kernel", "newest", "--json", "--output", scratch.folder());
    expect((JSON.parse(stdout) as BuildResult).module?.sha256).toBe(first.module?.sha256);
    expect(fingerprint()).toBe(before);
  });

  test("a module that is found beside the image is proven as well", async () => {
    const { exitCode, result, stderr } = await build(zramExample, ...options());
    expect(exitCode, stderr).toBe(0);
    expect(new Set(result.functions.map(({ object }) => object))).toEqual(new Set(["zram"]));
  });

  test.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")(
    "with another configuration, whose code of the patched function is the same, is refused for the types",
    async () => {
      const config = join(scratch.folder(), "config");
      const text = readFileSync(stock.configPath, "utf8");
      expect(text).toContain("CONFIG_TASK_IO_ACCOUNTING=y\n");
      // One member less in the structure of a task.
      writeFileSync(config, text.replace("CONFIG_TASK_IO_ACCOUNTING=y\n", "# CONFIG_TASK_IO_ACCOUNTING is not set\n"));
      const output = scratch.folder();
      const words = options().map((word) => (word === stock.configPath ? config : word));
      const { exitCode, stderr } = await kmend("build", example, "--output", output, ...words);
      expect(exitCode, stderr).toBe(2);
      expect(stderr).toContain("error[IMAGE_OF_OTHER_CONFIG]");
      expect(stderr).toContain("struct task_struct");
      expect(readdirSync(output)).toEqual([]);
    },
  );

  test("without modules a patch to one is refused with the reason", async () => {
    const image = join(scratch.folder(), "vmlinuz");
    writeFileSync(image, readFileSync(stock.imagePath));
    const words = options().map((word) => (word === stock.imagePath ? image : word));
    const { exitCode, stderr } = await kmend("build", zramExample, "--output", scratch.folder(), ...words);
    expect(exitCode, stderr).toBe(4);
    expect(stderr).toContain("no built modules");
  });

  test.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")("a spec for its kernel is built where the tree is", async () => {
    const folder = scratch.folder();
    const made = await kmend(
      "package",
      "--format",
      "spec",
      "--profile",
      "kpatch-module",
      "-o",
      folder,
      ...options(),
      example,
    );
    expect(made.exitCode, made.stderr).toBe(0);
    const spec = readdirSync(folder).find((name) => name.endsWith(".spec")) as string;
    copyFileSync(example, join(folder, "meminfo-string.patch"));
    const places = { _topdir: join(folder, "top"), _sourcedir: folder, _rpmdir: folder };
    const rpmbuild = (macros: Readonly<Record<string, string>>) => {
      const words = Object.entries({ ...places, ...macros }).flatMap(([name, value]) => [
        "--define",
        `${name} ${value}`,
      ]);
      const PATH = `${programFolder(scratch.folder(), launcher)}:${process.env["PATH"]}`;
      return runProgram("rpmbuild", ["-bb", ...words, join(folder, spec)], { PATH });
    };
    const without = rpmbuild({});
    expect(without.exitCode).not.toBe(0);
    expect(without.output).toContain('rpmbuild --define "kernel_source DIR"');
    const { imagePath, configPath, symversPath } = stock;
    const kernel = { kernel_image: imagePath, kernel_config: configPath, kernel_symvers: symversPath };
    const built = rpmbuild({ kernel_source: tree, ...kernel });
    expect(built.exitCode, built.output).toBe(0);
    const listed = runProgram("rpm", [
      "-qlp",
      join(folder, "x86_64", readdirSync(join(folder, "x86_64"))[0] as string),
    ]);
    expect(listed.output).toContain(`/var/lib/kpatch/${stock.release}/livepatch-meminfo-string.ko`);
  });

  test.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")(
    "as a git repository: neither files nor the state of git change",
    async () => {
      // The source of a distribution ignores what is not its own.
      rmSync(join(tree, ".gitignore"));
      git("init", "-q");
      git("add", "-f", "Makefile", "Kbuild", "fs/proc");
      git("commit", "-q", "-m", "kernel");
      const before = fingerprint();
      expectProven(await build(example, ...options()));
      expectProven(await build(example, ...options()));
      expect(fingerprint()).toBe(before);
    },
  );

  test("of another version than the image", async () => {
    const makefile = join(tree, "Makefile");
    writeFileSync(makefile, readFileSync(makefile, "utf8").replace(/^PATCHLEVEL = .*$/m, "PATCHLEVEL = 99"));
    const { exitCode, stderr } = await kmend("build", example, "--output", scratch.folder(), ...options());
    expect(exitCode).toBe(2);
    expect(stderr).toContain(stock.release);
    expect(stderr).toMatch(/Linux \d+\.99\./);
  });
});
