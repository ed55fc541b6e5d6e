import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { parseBanner } from "../../src/kernel/image/banner.ts";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import { acquireSource } from "../../src/kernel/sources/fetch-source.ts";
import { requireSameVersion } from "../../src/kernel/sources/source-tree.ts";
import type { FindOptions, TargetKernel } from "../../src/kernel/target-kernel.ts";
import { exists } from "../../src/support/cache.ts";
import { buildId, tinyKernel } from "./tiny-kernel.ts";

const release = "6.1.0-9-amd64";
let root: string;
let tree: string;
let cache: string;

/** Writes files below the test's folder. */
async function write(files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

/** What the version of the tiny kernel tells of its configuration. */
const configuration = "CONFIG_LIVEPATCH=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_DYNAMIC=y\n";

const makefile = (sublevel: number): string =>
  `# SPDX-License-Identifier: GPL-2.0\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = ${sublevel}\nEXTRAVERSION =\n`;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-source-tree-"));
  tree = join(root, "tree");
  cache = join(root, "cache");
  vi.stubEnv("KMEND_CACHE", cache);
  await write({
    "tree/Makefile": makefile(9),
    "tree/Kbuild": "",
    "tree/scripts/Makefile.build": "",
    "tree/kernel/fork.c": "int fork;\n",
  });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true, force: true });
});

const find = (options: FindOptions = {}, given: { config?: string; symvers?: string } = {}): Promise<TargetKernel> =>
  findTargetKernel({
    makeImage: false,
    ...options,
    source: { path: tree, root: join(root, "machine"), ...given },
  });

/** What a build leaves in the tree. */
const built = (): Record<string, string | Uint8Array> => ({
  "tree/vmlinux": tinyKernel(),
  "tree/.config": configuration,
  "tree/Module.symvers": "",
});

const installed = (): Record<string, string | Uint8Array> => ({
  [`machine/boot/vmlinuz-${release}`]: tinyKernel(),
  [`machine/boot/config-${release}`]: configuration,
  [`machine/lib/modules/${release}/build/Module.symvers`]: "",
  [`machine/lib/modules/${release}/modules.order`]: "kernel/fs/fuse/fuse.ko\n",
});

async function filesOf(kernel: TargetKernel): Promise<readonly string[]> {
  const source = await kernel.source();
  if (source.kind !== "tree") throw new Error("not a tree");
  return source.files;
}

describe("which files belong to a tree", () => {
  test("those that a build left in it", async () => {
    await write(built());
    expect(await find()).toMatchObject({
      distribution: "source tree",
      release,
      packageVersion: "6.1.9",
      buildId,
      imagePath: join(tree, "vmlinux"),
      configPath: join(tree, ".config"),
      symversPath: join(tree, "Module.symvers"),
      modulesDir: undefined,
    });
  });

  test("a boot image is preferred, unless it is older than vmlinux", async () => {
    await write({ ...built(), "tree/arch/x86/boot/bzImage": tinyKernel() });
    const boot = join(tree, "arch/x86/boot/bzImage");
    await utimes(boot, 2000, 2000);
    await utimes(join(tree, "vmlinux"), 1000, 1000);
    expect((await find()).imagePath).toBe(boot);
    await utimes(boot, 500, 500);
    expect((await find()).imagePath).toBe(join(tree, "vmlinux"));
  });

  test("those of the installed kernel that was built from it", async () => {
    await write({ ...installed(), "tree/include/config/kernel.release": `${release}\n` });
    const machine = join(root, "machine");
    expect(await find()).toMatchObject({
      imagePath: join(machine, "boot", `vmlinuz-${release}`),
      configPath: join(machine, "boot", `config-${release}`),
      symversPath: join(machine, "lib/modules", release, "build/Module.symvers"),
      modulesDir: join(machine, "lib/modules", release),
    });
  });

  test("an installed kernel that --kernel names, though the tree has an image", async () => {
    await write({ ...built(), ...installed() });
    expect((await find({ kernel: release })).imagePath).toBe(join(root, "machine/boot", `vmlinuz-${release}`));
    await expect(find({ kernel: "6.1.0-10-amd64" })).rejects.toMatchObject({ code: "IMAGE_MISSING", exitCode: 2 });
    await expect(find({ kernel: "newest" })).rejects.toMatchObject({ code: "USAGE" });
  });

  test("files that are given, and those of an unpacked package around a given image", async () => {
    await write({
      [`package/boot/vmlinuz-${release}`]: tinyKernel(),
      [`package/boot/config-${release}`]: configuration,
      [`package/lib/modules/${release}/modules.order`]: "kernel/fs/fuse/fuse.ko\n",
      symvers: "",
    });
    const image = join(root, "package/boot", `vmlinuz-${release}`);
    expect(await find({ image }, { symvers: join(root, "symvers") })).toMatchObject({
      imagePath: image,
      configPath: join(root, "package/boot", `config-${release}`),
      symversPath: join(root, "symvers"),
      modulesDir: join(root, "package/lib/modules", release),
    });
  });

  test("modules that were built in the tree", async () => {
    await write({ ...built(), "tree/modules.order": "fs/fuse/fuse.o\n", "tree/fs/fuse/fuse.ko": "fuse" });
    const { modulesDir } = await find();
    expect(modulesDir).toBe(tree);
    const modules = await ShippedModules.open(modulesDir);
    expect(modules.loadable).toEqual([{ name: "fuse", modfile: "fs/fuse/fuse" }]);
    const [fuse] = modules.loadable;
    if (fuse !== undefined) expect((await modules.read(fuse)).toString()).toBe("fuse");
  });

  test("a list of modules that were not built is none", async () => {
    await write({ ...built(), "tree/modules.order": "kernel/fs/fuse/fuse.ko\n" });
    expect((await find()).modulesDir).toBeUndefined();
    expect((await ShippedModules.open(undefined)).find("fuse")).toBeUndefined();
  });
});

describe("what cannot be", () => {
  test.each([
    ["no folder", async () => rm(tree, { recursive: true }), "it does not exist"],
    ["a file", async () => rm(tree, { recursive: true }).then(() => writeFile(tree, "")), "it is not a folder"],
    ["another project", async () => rm(join(tree, "Kbuild")), "it has no Kbuild"],
    ["no version", async () => writeFile(join(tree, "Makefile"), "all:\n"), "its Makefile sets no VERSION"],
  ])("a tree that is %s", async (_, spoil, why) => {
    await write(built());
    await spoil();
    await expect(find()).rejects.toMatchObject({ code: "SOURCE_NOT_KERNEL", why, exitCode: 2 });
  });

  test("source of another version than the image", async () => {
    await write({ ...built(), "tree/Makefile": makefile(10) });
    await expect(find()).rejects.toMatchObject({
      code: "SOURCE_OF_OTHER_VERSION",
      message: "the source tree is Linux 6.1.10, the image is 6.1.0-9-amd64 (Debian 6.1.9-1)",
      exitCode: 2,
    });
  });

  test.each([
    ["tree/.config", "CONFIG_MISSING", "--config FILE"],
    ["tree/Module.symvers", "SYMVERS_MISSING", "--symvers FILE"],
    ["tree/vmlinux", "IMAGE_MISSING", "--image FILE"],
  ])("without %s", async (path, code, option) => {
    await write(built());
    await rm(join(root, path));
    await expect(find()).rejects.toMatchObject({ code, hint: expect.stringContaining(option), exitCode: 2 });
  });

  test("files that are given and not there", async () => {
    await write(built());
    await expect(find({}, { config: join(root, "none") })).rejects.toMatchObject({ code: "CONFIG_MISSING" });
    await expect(find({}, { symvers: join(root, "none") })).rejects.toMatchObject({ code: "SYMVERS_MISSING" });
    await expect(find({ image: join(root, "none") })).rejects.toMatchObject({ code: "IMAGE_UNREADABLE" });
  });
});

describe("a kernel without an image", () => {
  test("is built once for each state of the tree, with the configuration", async () => {
    await write({ config: configuration, image: tinyKernel(), symvers: "" });
    const folders: string[] = [];
    const makeImage: FindOptions["makeImage"] = async ({ folder, configPath }) => {
      folders.push(folder);
      const files = { imagePath: join(root, "image"), symversPath: join(root, "symvers"), modulesDir: undefined };
      return { ...files, configPath };
    };
    const config = join(root, "config");
    const kernel = await find({ makeImage }, { config });
    expect(kernel).toMatchObject({ imagePath: join(root, "image"), configPath: config });
    await find({ makeImage }, { config });
    await write({ "tree/kernel/fork.c": "int other;\n" });
    await find({ makeImage }, { config });
    expect(folders[0]).toBe(folders[1]);
    expect(folders[2]).not.toBe(folders[0]);
    await expect(find({ makeImage })).rejects.toMatchObject({ code: "CONFIG_MISSING" });
  });
});

/** Lines about everything in the tree: names, sizes, times of content and of the entry itself. */
function fingerprint(): string {
  return execFileSync("find", [tree, "-printf", "%P %s %T@ %C@ %m %l\n"], { encoding: "utf8" });
}

function git(...words: readonly string[]): void {
  const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"];
  execFileSync("git", ["-C", tree, ...who, ...words], { stdio: "ignore" });
}

describe.each(["a plain folder", "a git tree"])("the state of %s", (kind) => {
  beforeEach(async () => {
    await write({ "tree/.gitignore": "*.o\n.config\nvmlinux\nModule.symvers\n/include/generated/\n", ...built() });
    if (kind !== "a git tree") return;
    git("init", "-q");
    git("add", "-A");
    git("commit", "-q", "-m", "kernel");
  });

  test("looking at it changes nothing, and without a change the cache is warm", async () => {
    // A racy index is what git would like to refresh.
    await utimes(join(tree, "kernel/fork.c"), 1000, 1000);
    const before = fingerprint();
    const first = await find();
    const second = await find();
    expect(fingerprint()).toBe(before);
    expect(second.folder).toBe(first.folder);
    expect(first.folder.startsWith(join(cache, "trees"))).toBe(true);
  });

  test("sources count, build products do not", async () => {
    const first = await find();
    await write({ "tree/kernel/fork.o": "object", "tree/include/generated/utsrelease.h": "" });
    expect((await find()).folder).toBe(first.folder);
    expect(await filesOf(first)).toEqual([
      ".gitignore",
      "Kbuild",
      "Makefile",
      "kernel/fork.c",
      "scripts/Makefile.build",
    ]);
  });

  test.each([
    ["an edit", async () => write({ "tree/kernel/fork.c": "int kork;\n" })],
    ["a new file", async () => write({ "tree/kernel/exit.c": "" })],
    ["a file that is gone", async () => rm(join(tree, "kernel/fork.c"))],
    ["a link", async () => symlink("fork.c", join(tree, "kernel/link.c"))],
    ["a name with a space", async () => write({ "tree/kernel/a b.c": "" })],
    ["another configuration", async () => write({ "tree/.config": `${configuration}CONFIG_HZ=250\n` })],
    ["another Module.symvers", async () => write({ "tree/Module.symvers": "\n" })],
  ])("%s makes another state", async (_, change) => {
    const first = await find();
    await change();
    expect((await find()).folder).not.toBe(first.folder);
  });

  test("two edits of a file that was edited before are two states", async () => {
    await write({ "tree/kernel/fork.c": "int aaaa;\n" });
    const first = await find();
    await write({ "tree/kernel/fork.c": "int bbbb;\n" });
    expect((await find()).folder).not.toBe(first.folder);
  });

  test("the copy has the sources with their times, links and modes, and nothing else", async () => {
    await write({ "tree/kernel/fork.o": "object", "tree/kernel/a b.c": "" });
    await symlink("fork.c", join(tree, "kernel/link.c"));
    await chmod(join(tree, "kernel/fork.c"), 0o666);
    await chmod(join(tree, "kernel/a b.c"), 0o777);
    const source = await (await find()).source();
    await acquireSource(source, join(root, "copy"), join(root, "guard"));
    const modes = ["fork.c", "a b.c"].map(async (name) => (await stat(join(root, "copy/kernel", name))).mode & 0o777);
    expect(await Promise.all(modes), "what others may write to there is only the user's here").toEqual([0o644, 0o755]);
    expect((await readdir(join(root, "copy"))).sort()).toEqual([
      ".gitignore",
      "Kbuild",
      "Makefile",
      "kernel",
      "scripts",
    ]);
    expect((await readdir(join(root, "copy/kernel"))).sort()).toEqual(["a b.c", "fork.c", "link.c"]);
    const [copy, original] = await Promise.all(["copy", "tree"].map((name) => stat(join(root, name, "kernel/fork.c"))));
    expect(copy?.mtimeMs).toBe(original?.mtimeMs);
    expect(await readFile(join(root, "copy/kernel/link.c"), "utf8")).toBe("int fork;\n");
  });

  test("a tree that changes while it is copied", async () => {
    const source = await (await find()).source();
    await write({ "tree/kernel/fork.c": "int other;\n" });
    await expect(acquireSource(source, join(root, "copy"), join(root, "guard"))).rejects.toMatchObject({
      code: "SOURCE_CHANGED",
    });
  });

  test("old states leave the cache, but for the last one and those in use", async () => {
    const folders: string[] = [];
    for (const number of [1, 2, 3, 4]) {
      await write({ "tree/kernel/fork.c": `int fork${number};\n` });
      const { folder } = await find();
      folders.push(folder);
      if (number === 1) await writeFile(join(folder, "tree.lock"), "1 1 elsewhere");
      await utimes(folder, 1000 * number, 1000 * number);
    }
    expect(await Promise.all(folders.map(exists))).toEqual([true, false, true, true]);
  });
});

test("a tree that is gone leaves the cache when another one is new", async () => {
  await write(built());
  const { folder } = await find();
  execFileSync("cp", ["-a", tree, join(root, "other")]);
  await rm(tree, { recursive: true });
  tree = join(root, "other");
  const other = await find();
  expect(await Promise.all([folder, other.folder].map(exists))).toEqual([false, true]);
});

test("for a git tree, a check-out and back is the same state", async () => {
  await write(built());
  git("init", "-q");
  git("add", "Makefile", "Kbuild", "scripts", "kernel");
  git("commit", "-q", "-m", "kernel");
  const first = await find();
  await write({ "tree/kernel/fork.c": "int other;\n" });
  git("checkout", "-q", "--", "kernel/fork.c");
  expect((await find()).folder).toBe(first.folder);
});

test("a tree inside of another repository, or unknown to its own, is a plain folder", async () => {
  await write(built());
  execFileSync("git", ["init", "-q", root]);
  expect(await filesOf(await find())).toContain("kernel/fork.c");
  git("init", "-q");
  await write({ "tree/.gitignore": "/*\n" });
  git("add", "-f", ".gitignore");
  git("commit", "-q", "-m", "nothing");
  expect(await filesOf(await find())).toContain("kernel/fork.c");
});

test("the version of a tree is held against what the image says", () => {
  const says = (release: string, version: string, tree: [number, number, number]): string => {
    const banner = parseBanner(`Linux version ${release} (a@example.org) (gcc (Ubuntu 11.4.0-1) 11.4.0) ${version}`);
    const [major, minor, sub] = tree;
    try {
      requireSameVersion("tree", { major, minor, sub }, "image", banner);
      return "same";
    } catch (error) {
      return (error as Error).message;
    }
  };
  const ubuntu = "#101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023";
  const signed = `${ubuntu} (Ubuntu 5.15.0-91.101-generic 5.15.131)`;
  expect(says("5.15.0-91-generic", signed, [5, 15, 131])).toBe("same");
  expect(says("5.15.0-91-generic", signed, [5, 15, 130])).toContain("Ubuntu 5.15.0-91.101-generic 5.15.131");
  expect(says("5.15.0-91-generic", ubuntu, [5, 15, 130])).toBe("same");
  expect(says("5.15.0-91-generic", ubuntu, [5, 14, 0])).toContain("Linux 5.14.0");
  expect(says("6.8.5-301.fc40.x86_64", "#1 SMP PREEMPT_DYNAMIC", [6, 8, 5])).toBe("same");
  expect(says("6.8.5-301.fc40.x86_64", "#1 SMP PREEMPT_DYNAMIC", [6, 8, 4])).toContain("6.8.5-301");
  expect(says("5.14.0-427.el9.x86_64", "#1 SMP PREEMPT_DYNAMIC", [5, 14, 0])).toBe("same");
});
