import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { type RunResult, run } from "../../src/support/run.ts";
import { readUpdate, type UpdateBundle } from "../../src/update/update-bundle.ts";
import { type HostRun, runHost } from "./host-guest.ts";
import { type Edit, removeTree, replace, type Scratch } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** What is left out of the source: files that neither the configuration nor the units of the test need, most of the kernel. */
const needless = [
  ...["*/drivers/*.[chS]", "*/sound/*.[ch]", "*/samples/*.[ch]", "*/Documentation/*/*", "*/dt-bindings/*"],
  ...["*/tools/testing/*", "*/tools/perf/*", "*.dts", "*.dtsi", "*/arch/[a-tv-wyz]*/*.[chS]"],
];

/** A user's source tree of the stock kernel, all of it in a git repository, with a folder that describes the kernel. */
export class KspliceTree {
  readonly path: string;
  readonly config: string;
  /** Where the programs are started, and updates written. */
  readonly output: string;
  /** Paths of the updates that were made, by identifier. */
  readonly updates = new Map<string, string>();
  readonly #scratch: Scratch;

  private constructor(path: string, config: string, scratch: Scratch) {
    this.#scratch = scratch;
    this.path = path;
    this.config = config;
    this.output = scratch.folder();
  }

  /** A tree that is there, and the folder that describes its kernel. */
  static at(path: string, config: string, scratch: Scratch): KspliceTree {
    return new KspliceTree(path, config, scratch);
  }

  /** Unpacks the source of a stock kernel. */
  static async of(kernel: TargetKernel, scratch: Scratch): Promise<KspliceTree> {
    const made = new KspliceTree(join(scratch.path, "linux"), join(scratch.path, "orig"), scratch);
    const source = await kernel.source();
    const exclude = needless.map((pattern) => `--exclude=${pattern}`);
    mkdirSync(made.path);
    const words = ["-xf", source.path, "-C", made.path, "--strip-components=1", "--wildcards", ...exclude];
    execFileSync("tar", words, { env: { ...process.env, XZ_DEFAULTS: "-T0" } });
    mkdirSync(made.config);
    copyFileSync(kernel.configPath, join(made.config, ".config"));
    copyFileSync(kernel.imagePath, join(made.config, "vmlinuz"));
    copyFileSync(kernel.symversPath, join(made.config, "Module.symvers"));
    symlinkSync(kernel.modulesDir as string, join(made.config, "modules"));
    writeFileSync(join(made.config, "System.map"), systemMap(kernel));
    // The list of the distribution's package ignores everything.
    rmSync(join(made.path, ".gitignore"));
    made.git("init", "--quiet");
    // Nothing but the programs under test may write there.
    for (const setting of ["gc.auto", "maintenance.auto"]) made.git("config", setting, "0");
    made.git("add", "--all");
    made.git("commit", "--quiet", "-m", "original");
    return made;
  }

  git(...words: readonly string[]): string {
    const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"];
    return execFileSync("git", ["-C", this.path, ...who, ...words], { encoding: "utf8" });
  }

  /** Runs one of the programs in {@link output}. */
  ksplice(program: string, ...words: readonly string[]): Promise<RunResult> {
    const path = join(repository, "compat", `ksplice-${program}`);
    return run(process.execPath, [path, ...words], { cwd: this.output, allowFailure: true });
  }

  kmend(...words: readonly string[]): Promise<RunResult> {
    const path = join(repository, "bin/kmend");
    return run(process.execPath, [path, ...words], { cwd: this.output, allowFailure: true });
  }

  /** Runs ksplice-create for this tree, and requires that it changes nothing in it but `refs/ksplice/pre`. */
  async create(...words: readonly string[]): Promise<RunResult> {
    const before = this.fingerprint();
    const made = await this.ksplice("create", `--config=${this.config}`, ...words, this.path);
    expect(this.fingerprint()).toBe(before);
    return made;
  }

  /** Makes an update. @returns its path. */
  async update(id: string, ...words: readonly string[]): Promise<string> {
    const made = await this.create(`--id=${id}`, ...words);
    expect(made.exitCode, made.all).toBe(0);
    expect(made.stdout).toContain(`Ksplice update tarball written to ksplice-${id}.tar.gz\n`);
    const path = join(this.output, `ksplice-${id}.tar.gz`);
    this.updates.set(id, path);
    return path;
  }

  /** Reads an update that was made, and requires that everything in it is proven. */
  async read(id: string): Promise<UpdateBundle> {
    const bundle = await readUpdate(this.updates.get(id) as string);
    expect(bundle.manifest.functions.filter(({ proven }) => !proven)).toEqual([]);
    return bundle;
  }

  /** Identifiers of the updates that one goes on top of. */
  async earlierOf(id: string): Promise<string[]> {
    return (await this.read(id)).manifest.after.map((earlier) => earlier.id);
  }

  /** Names, sizes, modes, times and inodes of everything in the tree and its repository, but for what tells of `refs/ksplice`. */
  fingerprint(): string {
    const kept = ["-path", "*/.git/refs", "-o", "-path", "*/.git/logs"];
    const files = execFileSync(
      "find",
      [this.path, "(", ...kept, ")", "-prune", "-o", "-printf", "%P %s %m %T@ %i %l\n"],
      { maxBuffer: 1 << 28, encoding: "latin1" },
    );
    const digest = createHash("sha256").update(files);
    if (existsSync(join(this.path, ".git"))) {
      const references = this.git("for-each-ref").split("\n");
      digest.update(references.filter((line) => !line.includes("refs/ksplice/")).join());
      digest.update(readFileSync(join(this.path, ".git/logs/HEAD")));
    }
    return digest.digest("hex");
  }

  /** Digest of the content of every file, the repository's included. */
  content(): string {
    const script =
      'cd "$1" && find . -type f -not -path "*/ksplice/*" -print0 | sort -z | xargs -0 sha256sum | sha256sum';
    return execFileSync("sh", ["-c", script, "sh", this.path], { encoding: "utf8" });
  }

  /** Writes a patch of one file, which earlier edits have changed already. */
  patch(file: string, edit: Edit, ...earlier: readonly Edit[]): string {
    const folder = this.#scratch.folder();
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    const before = earlier.reduce<string>(
      (text, change) => change(text) as string,
      readFileSync(join(this.path, file), "latin1"),
    );
    writeFileSync(join(folder, file), before, "latin1");
    return this.#scratch.patch(folder, { [file]: edit });
  }

  /** Edits a file of the tree. */
  edit(file: string, edit: Edit, at = join(this.path, file)): void {
    writeFileSync(at, edit(readFileSync(join(this.path, file), "latin1")) as string, "latin1");
  }

  /** Removes what the cache keeps of the tree. */
  forget(): void {
    const trees = join(cacheRoot(), "trees");
    for (const name of readdirSync(trees)) {
      const path = readFileSync(join(trees, name, "path"), "utf8");
      if (path.startsWith(this.#scratch.path)) removeTree(join(trees, name));
    }
  }
}

/** What `nm` would say of the kernel's vmlinux: the packages have no more than a stub of the file. */
function systemMap({ image }: TargetKernel): string {
  const kallsyms = image.kallsyms();
  const lines: string[] = [];
  for (let index = 0; index < kallsyms.count; index++) {
    const address = BigInt.asUintN(64, BigInt(kallsyms.addressOf(index)));
    lines.push(`${address.toString(16).padStart(16, "0")} ${kallsyms.typeOf(index)} ${kallsyms.nameOf(index)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** What the script of a guest has for updates: `ksplice PROGRAM WORDS...`, and `status NAME`, which sends what binfmt_misc says. */
export const kspliceGuest = `
ksplice() { ksplice_name=$1; shift; node /opt/kmend/compat/ksplice-$ksplice_name "$@"; }
status() { shows $1 'mount -t binfmt_misc none /tmp && cat /tmp/status && umount /tmp'; }
`;

/** A module of the kernel's package. */
export async function shippedModule(kernel: TargetKernel, name: string): Promise<Buffer> {
  const modules = await ShippedModules.open(kernel.modulesDir);
  return Buffer.from(await modules.read(modules.find(name) as { name: string; modfile: string }));
}

/**
 * Boots the kernel as a host that has all updates of the tree in /modules, with the kernel's own `shipped.ko` of binfmt_misc and the program `vforks`.
 * @param script what it does, with {@link kspliceGuest}.
 */
export async function runUpdates(
  kernel: TargetKernel,
  tree: KspliceTree,
  scratch: Scratch,
  script: string,
): Promise<HostRun> {
  const shipped = scratch.file("shipped.ko", await shippedModule(kernel, "binfmt_misc"));
  return runHost({
    kernel,
    scratch,
    files: [...tree.updates.values(), shipped, vforkProgram(scratch)],
    // A task is kept waiting for as long as the test likes.
    parameters: ["sysctl.kernel.hung_task_timeout_secs=0"],
    timeoutSeconds: 1500,
    script: `${kspliceGuest}${script}`,
  });
}

/** Compiles the program `vforks`, which waits in the kernel until its child ends, which it does not. @returns its path. */
function vforkProgram(scratch: Scratch): string {
  const path = join(scratch.folder(), "vforks");
  const source = "#include <unistd.h>\nint main(void) { if (vfork() == 0) { sleep(10000); _exit(0); } return 0; }\n";
  execFileSync("gcc", ["-static", "-O1", "-x", "c", "-o", path, "-"], { input: source });
  return path;
}

/** Changes to the kernel's source which the updates are made from. */
export const edits = {
  free: replace('"MemFree:        "', '"MemFREE:        "'),
  available: replace('"MemAvailable:   "', '"MemAVAILABLE:   "'),
  fork: replace("nr = pid_vnr(pid);", "nr = pid ? pid_vnr(pid) : -ESRCH;"),
  shout: replace('"enabled\\n" : "disabled\\n"', '"ENABLED\\n" : "disabled\\n"'),
} as const;
