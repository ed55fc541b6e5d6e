import { execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runGuarded } from "../../src/kernel/tree/guard.ts";
import { runKbuild } from "../../src/kernel/tree/kbuild.ts";
import { prepareTree, reserveTree, type TreeInputs } from "../../src/kernel/tree/prepare.ts";
import { SilentProgress } from "../../src/support/progress.ts";

/** A makefile with the goals and exports that kmend relies on, and a count of how often it was configured. */
const topMakefile = `
ifneq ($(sub_make_done),1)
MAKEFLAGS += -rR --no-print-directory
export sub_make_done := 1
$(MAKECMDGOALS): sub-make
	@:
sub-make:
	@$(MAKE) -f Makefile $(MAKECMDGOALS)
else
export KERNELRELEASE
export KBUILD_CFLAGS := -O2 -Wall
export MULTI := $(shell printf 'a b "c"')
export quiet := quiet_
olddefconfig:
	@echo configured for $(KERNELRELEASE) with $(CC) >> ../count
	@echo CONFIG_ADDED=y >> .config
modules_prepare:
	@test ! -e fail
	@mkdir -p scripts/generated && echo $(CFLAGS) > scripts/generated/flags
endif
`;
const buildMakefile = `
%.o: %.c
	@echo '$(obj) $(KERNELRELEASE) $(KBUILD_MODULES) $(quiet)$(KBUILD_CFLAGS) $(MULTI)' > $@
	@cat $< >> $@
`;

let root: string;
let inputs: TreeInputs;
let asked = 0;

async function writeSource(files: Record<string, string>): Promise<void> {
  const source = join(root, "linux-source-6.1");
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(source, path, ".."), { recursive: true });
    await writeFile(join(source, path), text);
  }
  execFileSync("tar", ["-cJf", join(root, "source.tar.xz"), "-C", root, "linux-source-6.1"]);
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-tree-"));
  await writeFile(join(root, "config"), "CONFIG_X86_64=y\n");
  await writeFile(join(root, "symvers"), "0x00000001\ta\tvmlinux\tEXPORT_SYMBOL\t\n");
  await writeSource({
    Makefile: topMakefile,
    Kbuild: "",
    "scripts/Makefile.build": buildMakefile,
    "kernel/unit.c": "int unit;\n",
  });
  asked = 0;
  inputs = {
    release: "6.1.0-9-amd64",
    configPath: join(root, "config"),
    symversPath: join(root, "symvers"),
    folder: join(root, "kernel"),
    source: async () => {
      asked++;
      return { kind: "archive", path: join(root, "source.tar.xz") };
    },
  };
});
afterEach(() => rm(root, { recursive: true, force: true }));

const timesPrepared = async (): Promise<number> =>
  (await readFile(join(inputs.folder, "count"), "utf8")).split("\n").length - 1;

describe("prepareTree", () => {
  test("config, goals and symvers", async () => {
    const tree = await prepareTree(inputs);
    expect(tree.path).toBe(join(inputs.folder, "tree"));
    expect(tree.makeArguments).toEqual(["KERNELRELEASE=6.1.0-9-amd64", "CC=gcc"]);
    expect(await readFile(join(tree.path, ".config"), "utf8")).toBe("CONFIG_X86_64=y\nCONFIG_ADDED=y\n");
    expect(await readFile(join(tree.path, "Module.symvers"), "utf8")).toMatch(/vmlinux/);
    expect(await readFile(join(inputs.folder, "count"), "utf8")).toBe("configured for 6.1.0-9-amd64 with gcc\n");
  });

  test("is done once, also by two at the same time", async () => {
    const [first, second] = await Promise.all([prepareTree(inputs), prepareTree(inputs)]);
    expect(second).toEqual(first);
    expect(await prepareTree(inputs)).toEqual(first);
    expect(await timesPrepared()).toBe(1);
    expect(asked).toBe(1);
  });

  test("a tree that a killed run left behind is made anew", async () => {
    const { path } = await prepareTree(inputs);
    await rm(join(inputs.folder, "tree.json"));
    await writeFile(join(path, "kernel/unit.c"), "half-patched");
    await writeFile(join(path, "stray"), "");
    await prepareTree(inputs);
    expect(await readFile(join(path, "kernel/unit.c"), "utf8")).toBe("int unit;\n");
    await expect(stat(join(path, "stray"))).rejects.toThrow();
    expect(await timesPrepared()).toBe(2);
  });

  test("what a killed run left running is waited for", async () => {
    await mkdir(inputs.folder, { recursive: true });
    const late = join(inputs.folder, "late");
    const orphan = runGuarded(
      join(inputs.folder, "tree.guard"),
      "sh",
      ["-c", `(sleep 0.7; echo > ${late}) > /dev/null 2>&1 &`],
      {},
    );
    await orphan;
    const progress = new SilentProgress();
    const tree = await prepareTree(inputs, { progress });
    expect((await stat(late)).mtimeMs).toBeLessThan((await stat(join(tree.path, ".config"))).mtimeMs);
    expect(progress.notes.join()).toMatch(/waiting for programs/);
  });

  test("a tree is not made for another compiler while another process uses it", async () => {
    const first = { program: "gcc", version: "gcc 1" };
    const second = { program: "gcc", version: "gcc 2" };
    await prepareTree(inputs, { compiler: first });
    const other = spawn("sleep", ["60"]);
    const used = join(inputs.folder, `.build.${other.pid}.0123abcd.tmp`);
    await mkdir(used);
    const progress = new SilentProgress();
    const remade = prepareTree(inputs, { compiler: second, progress });
    await expect.poll(() => progress.notes.join(), { timeout: 60_000 }).toMatch(`process ${other.pid} uses the tree`);
    expect(await timesPrepared()).toBe(1);
    other.kill();
    await remade;
    expect(await timesPrepared()).toBe(2);
  });

  test("who uses a tree gets it as it is when the folder is there", async () => {
    const compiler = { program: "gcc", version: "gcc 1" };
    await prepareTree(inputs, { compiler: { ...compiler, version: "gcc 2" } });
    const folder = join(inputs.folder, ".build.1.0123abcd.tmp");
    const tree = await reserveTree(inputs, folder, { compiler });
    expect((await stat(folder)).isDirectory()).toBe(true);
    expect(await readFile(join(inputs.folder, "tree.json"), "utf8")).toContain('"gcc 1"');
    expect(tree.path).toBe(join(inputs.folder, "tree"));
  });

  test("a half-written record or a moved cache make it anew", async () => {
    await prepareTree(inputs);
    await writeFile(join(inputs.folder, "tree.json"), '{"format":');
    await prepareTree(inputs);
    expect(await timesPrepared()).toBe(2);
    execFileSync("mv", [inputs.folder, join(root, "moved")]);
    inputs = { ...inputs, folder: join(root, "moved") };
    expect((await prepareTree(inputs)).path).toBe(join(root, "moved/tree"));
    expect(await timesPrepared()).toBe(3);
  });

  test("the user's environment does not reach the tree's make", async () => {
    process.env["CFLAGS"] = "-DSTRAY";
    process.env["MAKEFLAGS"] = "-n";
    try {
      const tree = await prepareTree(inputs);
      expect(await readFile(join(tree.path, "scripts/generated/flags"), "utf8")).toBe("\n");
    } finally {
      delete process.env["CFLAGS"];
      delete process.env["MAKEFLAGS"];
    }
  });

  test("a failing goal shows its last lines and the log, and leaves nothing that looks finished", async () => {
    await writeSource({ fail: "" });
    await expect(prepareTree(inputs)).rejects.toMatchObject({
      code: "PREPARE_FAILED",
      message: expect.stringContaining("modules_prepare"),
      hint: expect.stringContaining(join(inputs.folder, "prepare.log")),
    });
    await expect(stat(join(inputs.folder, "tree.json"))).rejects.toThrow();
    expect(await readFile(join(inputs.folder, "prepare.log"), "utf8")).toMatch(/modules_prepare/);
  });

  test("archives that are damaged or hold something else", async () => {
    const archive = join(root, "source.tar.xz");
    const whole = await readFile(archive);
    await writeFile(archive, whole.subarray(0, whole.length - 50));
    await expect(prepareTree(inputs)).rejects.toMatchObject({ code: "SOURCE_DAMAGED", where: archive });
    await rm(join(root, "linux-source-6.1/Kbuild"));
    await writeSource({});
    await expect(prepareTree(inputs)).rejects.toMatchObject({
      code: "SOURCE_DAMAGED",
      message: expect.stringContaining("does not hold a Linux kernel"),
    });
  });

  test("times are kept by phase", async () => {
    const progress = new SilentProgress();
    await prepareTree(inputs, { progress });
    expect(Object.keys(progress.milliseconds)).toEqual(["unpack", "prepare"]);
  });
});

describe("runKbuild", () => {
  test("hands down what the top makefile exports, word for word", async () => {
    const { environment, path } = await prepareTree(inputs);
    await runKbuild(environment, path, ["kernel/unit.o"], { compilerFlags: ["-fdata-sections"] });
    expect(await readFile(join(path, "kernel/unit.o"), "utf8")).toBe(
      '. 6.1.0-9-amd64 1 quiet_-O2 -Wall -fdata-sections a b "c"\nint unit;\n',
    );
  });

  test("works in a folder that only looks like the tree", async () => {
    const { environment, path } = await prepareTree(inputs);
    const shadow = join(root, "shadow");
    await mkdir(join(shadow, "kernel"), { recursive: true });
    execFileSync("ln", ["-s", join(path, "scripts"), shadow]);
    await writeFile(join(shadow, "kernel/unit.c"), "int patched;\n");
    await runKbuild(environment, shadow, ["kernel/unit.o"], { verbose: true });
    expect(await readFile(join(shadow, "kernel/unit.o"), "utf8")).toBe(
      '. 6.1.0-9-amd64 1 -O2 -Wall a b "c"\nint patched;\n',
    );
    await expect(stat(join(path, "kernel/unit.o"))).rejects.toThrow();
  });

  test("records nothing of the machine's own make", async () => {
    const { environment } = await prepareTree(inputs);
    const names = Object.keys(environment.variables);
    expect(names.filter((name) => /^(MAKE|PATH|HOME|PWD)/.test(name))).toEqual([]);
    expect(environment.variables).toMatchObject({ KERNELRELEASE: "6.1.0-9-amd64", sub_make_done: "1" });
  });
});
