import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cacheRoot } from "../../src/support/cache.ts";
import { type RunResult, run } from "../../src/support/run.ts";
import { findTargetKernel, type TargetKernel } from "../../src/target/find.ts";
import { readUpdate } from "../../src/update/update-bundle.ts";
import { runHost } from "./host-guest.ts";
import { Scratch } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const example = join(repository, "examples/meminfo-string.patch");
const scratch = new Scratch();
const tree = join(scratch.path, "linux");
const config = join(scratch.path, "orig");
const output = scratch.folder();
let stock: TargetKernel;

beforeAll(async () => {
  stock = await findTargetKernel({ kernel: "newest" });
  const source = await stock.source();
  mkdirSync(tree);
  execFileSync("tar", ["-xf", source.path, "-C", tree, "--strip-components=1"], {
    env: { ...process.env, XZ_DEFAULTS: "-T0" },
  });
  mkdirSync(config);
  copyFileSync(stock.configPath, join(config, ".config"));
  copyFileSync(stock.imagePath, join(config, "vmlinuz"));
  copyFileSync(stock.symversPath, join(config, "Module.symvers"));
  symlinkSync(stock.modulesDir as string, join(config, "modules"));
  // What the distribution's package has is a line that names no function.
  writeFileSync(join(config, "System.map"), "ffffffffffffffff B The real System.map is elsewhere\n");
  // A few files of the tree are in a repository, and the others are unknown to it: adding all of them takes longer than the rest of the test.
  // The list of the distribution's package ignores all of them.
  rmSync(join(tree, ".gitignore"));
  git("init", "--quiet");
  git("add", "Makefile", "Kbuild", "fs/proc");
  git("commit", "--quiet", "-m", "original");
});
afterAll(() => {
  const trees = join(cacheRoot(), "trees");
  for (const name of readdirSync(trees)) {
    const path = readFileSync(join(trees, name, "path"), "utf8");
    if (path.startsWith(scratch.path)) rmSync(join(trees, name), { recursive: true, force: true });
  }
  scratch.remove();
});

function git(...words: readonly string[]): string {
  const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"];
  return execFileSync("git", ["-C", tree, ...who, ...words], { encoding: "utf8" });
}

/** Names, sizes, modes and times of everything in the tree but its repository, and the repository's HEAD and index. */
function fingerprint(): string {
  const files = execFileSync("find", [tree, "-name", ".git", "-prune", "-o", "-printf", "%P %s %m %T@ %l\n"], {
    maxBuffer: 1 << 28,
  });
  const head = readFileSync(join(tree, ".git/HEAD"));
  return createHash("sha256")
    .update(files)
    .update(head)
    .update(readFileSync(join(tree, ".git/index")))
    .digest("hex");
}

function ksplice(program: string, ...words: readonly string[]): Promise<RunResult> {
  return run(process.execPath, [join(repository, "compat", `ksplice-${program}`), ...words], {
    cwd: output,
    allowFailure: true,
  });
}

/** Makes an update of the tree. */
async function create(id: string, ...words: readonly string[]): Promise<string> {
  const made = await ksplice("create", `--id=${id}`, `--config=${config}`, ...words, tree);
  expect(made.exitCode, made.all).toBe(0);
  expect(made.stdout).toContain(`Ksplice update tarball written to ksplice-${id}.tar.gz\n`);
  return join(output, `ksplice-${id}.tar.gz`);
}

/** Writes an edited copy of a source file. */
function edit(file: string, from: string, to: string, at = join(tree, file)): void {
  const before = readFileSync(join(tree, file), "latin1");
  expect(before.split(from).length).toBe(2);
  writeFileSync(at, before.replace(from, to), "latin1");
}

const updates: string[] = [];

describe("updates of a source tree", () => {
  test("from a patch, the same bytes each time, and the tree is as before", async () => {
    const before = fingerprint();
    const first = await create("one", "--description=Free memory\nhas another name", `--patch=${example}`);
    const bytes = readFileSync(first);
    await create("one", "--description=Free memory\nhas another name", `--patch=${example}`);
    expect(readFileSync(first).equals(bytes)).toBe(true);
    expect(fingerprint()).toBe(before);
    const { manifest, patch } = await readUpdate(first);
    expect(manifest.kernel).toEqual({ release: stock.release, buildId: stock.buildId });
    expect(manifest.functions.map(({ name, proven }) => [name, proven])).toEqual([["meminfo_proc_show", true]]);
    expect(patch.equals(readFileSync(example))).toBe(true);
    updates.push(first);
  });

  test("on top of an earlier one: the function is proven from that one's module", async () => {
    const folder = scratch.folder();
    mkdirSync(join(folder, "fs/proc"), { recursive: true });
    copyFileSync(join(tree, "fs/proc/meminfo.c"), join(folder, "fs/proc/meminfo.c"));
    execFileSync("patch", ["-s", "-p1", "-i", example], { cwd: folder });
    const file = join(folder, "fs/proc/meminfo.c");
    const [from, to] = ["MemAvailable:   ", "MemAVAILABLE:   "];
    writeFileSync(`${file}.new`, readFileSync(file, "latin1").replace(from, to), "latin1");
    const labels = ["--label=fs/proc/meminfo.c", "--label=fs/proc/meminfo.c"];
    const difference = await run("diff", ["-u", ...labels, file, `${file}.new`], { allowFailure: true });
    const second = scratch.file("second.patch", difference.stdout);
    const alone = await ksplice("create", `--config=${config}`, "--patch-opt=-p0", `--patch=${second}`, tree);
    expect(alone.exitCode).toBe(255);
    expect(alone.stderr).toContain("PATCH_DOES_NOT_APPLY");
    updates.push(await create("two", "--series", "--patch-opt=-p0", `--patch=${second}`));
    const { manifest } = await readUpdate(updates[1] as string);
    expect(manifest.after.map(({ id }) => id)).toEqual(["one"]);
    expect(manifest.functions.map(({ name, change, proven }) => [name, change, proven])).toEqual([
      ["meminfo_proc_show", "changed", true],
    ]);
  });

  test("from edited copies, with the objects of the build", async () => {
    edit(
      "fs/proc/cmdline.c",
      "seq_putc(m, '\\n');",
      'seq_puts(m, " edited\\n");',
      join(tree, "fs/proc/cmdline.c.fixed"),
    );
    updates.push(await create("ext", "-v", "--diffext=.fixed"));
    const { files, patch } = await readUpdate(updates[2] as string);
    expect(patch.toString()).toContain("+++ b/fs/proc/cmdline.c\n");
    const names = ["original", "patched", "extracted"].map((kind) => `debug/vmlinux/fs/proc/cmdline.${kind}.o`);
    expect([...files.keys()]).toEqual(expect.arrayContaining(names));
    rmSync(join(tree, "fs/proc/cmdline.c.fixed"));
  });

  test("from a commit: HEAD, index and files stay, and only refs/ksplice/pre is new", async () => {
    const head = git("rev-parse", "HEAD");
    git("checkout", "--quiet", "-b", "fixed");
    edit("fs/proc/version.c", "utsname()->release", '"patched"');
    git("commit", "--quiet", "-am", "Another release");
    git("checkout", "--quiet", "-");
    const before = fingerprint();
    updates.push(await create("git", "--git=fixed"));
    expect(fingerprint()).toBe(before);
    expect(git("rev-parse", "refs/ksplice/pre")).toBe(head);
    const { patch } = await readUpdate(updates[3] as string);
    expect(patch.toString()).toContain("Another release");
    const none = await ksplice("create", `--config=${config}`, "--git=HEAD", tree);
    expect(none).toMatchObject({ exitCode: 66, stdout: "" });
    expect(none.stderr).toContain("No changes detected.\n");
    const clean = readFileSync(join(tree, "fs/proc/uptime.c"));
    writeFileSync(join(tree, "fs/proc/uptime.c"), "int changed;\n");
    const dirty = await ksplice("create", `--config=${config}`, "--git=fixed", tree);
    writeFileSync(join(tree, "fs/proc/uptime.c"), clean);
    expect(dirty.exitCode).toBe(255);
    expect(dirty.stderr).toContain("fs/proc/uptime.c");
  });

  test("usage ends with 1, another failure with 255", async () => {
    expect((await ksplice("create", tree)).exitCode).toBe(1);
    expect((await ksplice("create", "--prebuild", "--git=HEAD", tree)).exitCode).toBe(1);
    expect((await ksplice("create", "--patch=missing.patch", `--config=${config}`, tree)).exitCode).toBe(255);
    const name = await ksplice("create", "--id=a/b", `--patch=${example}`, `--config=${config}`, tree);
    expect(name.exitCode).toBe(1);
    expect(name.stderr).toContain("UPDATE_ID");
    const inside = await ksplice("create", `--patch=${example}`, `--config=${join(tree, "fs")}`, tree);
    expect(inside.exitCode).toBe(255);
    expect(inside.stderr).toContain("ORIG_CONFIG");
  });

  test("are applied, viewed and undone on the stock kernel, in their order only", async () => {
    const names = updates.map((path) => basename(path));
    const host = await runHost({
      kernel: stock,
      scratch,
      files: updates,
      script: `
ksplice() { ksplice_name=$1; shift; node /opt/kmend/compat/ksplice-$ksplice_name "$@"; }
step early ksplice apply --raw-errors ${names[1]}
step one ksplice apply ${names[0]}
step again ksplice apply ${names[0]}
step two ksplice apply ${names[1]}
shows meminfo 'grep -c "MemFREE\\|MemAVAILABLE" /proc/meminfo'
step below ksplice undo --raw-errors one
step ext ksplice apply ${names[2]}
step git ksplice apply ${names[3]}
shows cmdline 'cat /proc/cmdline'
shows version 'cat /proc/version'
step list ksplice view
step id ksplice view --id=one
step file ksplice view --file=${names[1]}
step info kmend info --json ${names[0]}
step undo-two ksplice undo two
step undo-git ksplice undo git
step undo-ext ksplice undo ext
step undo-one ksplice undo ksplice_one
step gone ksplice undo ext
shows after 'cat /proc/meminfo; ls /sys/kernel/livepatch'
`,
    });
    expect(host.step("early")).toMatchObject({ exitCode: 255, stderr: "missing_update\n" });
    expect(host.step("one")).toMatchObject({ exitCode: 0, stdout: "Done!\n" });
    expect(host.step("again")).toMatchObject({ exitCode: 0, stdout: "Ksplice update one already applied.\n" });
    expect(host.step("two")).toMatchObject({ exitCode: 0, stdout: "Done!\n" });
    expect(host.step("meminfo").stdout).toBe("2\n");
    expect(host.step("below")).toMatchObject({ exitCode: 255, stderr: "module_busy\n" });
    expect(host.step("ext").exitCode, host.step("ext").stderr).toBe(0);
    expect(host.step("git").exitCode, host.step("git").stderr).toBe(0);
    expect(host.step("cmdline").stdout).toMatch(/ edited\n$/);
    expect(host.step("version").stdout).toContain("version patched ");
    expect(host.step("list").stdout).toBe(
      "one: Free memory\ntwo: no description available\next: no description available\ngit: no description available\n",
    );
    expect(host.step("id").stdout).toContain("Ksplice id one is present in the kernel and is applied.");
    expect(host.step("id").stdout).toContain('+	show_val_kb(m, "MemFREE:');
    expect(host.step("file").stdout).toContain("on top of update one");
    expect(host.json<{ name: string }>("info").name).toBe("ksplice_one");
    // The edited copies came after the series had begun, so that update too is one on top of the first.
    for (const id of ["two", "git", "ext", "one"]) {
      expect(host.step(`undo-${id}`).exitCode, host.step(`undo-${id}`).stderr).toBe(0);
    }
    expect(host.step("gone").exitCode).toBe(1);
    expect(host.step("after").stdout).toContain("MemFree:");
    expect(host.step("after").stdout).not.toContain("ksplice");
  });
});
