import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { BuildResult } from "../../src/build/build-types.ts";
import { compareCompiler } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { kmend } from "../cli/captured.ts";

/** Which stock kernel the tests are about: the newest on offer, unless KMEND_TEST_KERNEL names a release. */
export const testedKernel = process.env["KMEND_TEST_KERNEL"] ?? "newest";

/** That stock kernel, with its prepared source tree. */
export interface StockKernel {
  readonly kernel: TargetKernel;
  readonly tree: PreparedTree;
}

let stock: Promise<StockKernel> | undefined;

/** Finds and prepares the newest stock kernel once for each test file; the cache keeps it for all of them. */
export function stockKernel(): Promise<StockKernel> {
  stock ??= preparedKernel(testedKernel);
  return stock;
}

/** Finds and prepares a kernel on offer. @param release as `--kernel` takes it. */
export async function preparedKernel(release: string): Promise<StockKernel> {
  const kernel = await findTargetKernel({ kernel: release });
  const { program } = await compareCompiler(kernel.image.banner);
  return { kernel, tree: await prepareTree(kernel, { compiler: program }) };
}

/** Release of the newest kernel of Linux 6.12 on offer, which has what 6.1 has not: landing pads, call padding, a second source. */
export async function newestOf612(): Promise<string> {
  const kernels = await new Debian().kernels({ cache: cacheRoot(), progress: new SilentProgress() });
  const offered = kernels.filter(({ release, hasSource }) => hasSource && /^6\.12\.\d+\+deb\d+-amd64$/.test(release));
  const found = offered.at(-1)?.release;
  if (found === undefined) throw new Error("the archive has no Linux 6.12");
  return found;
}

/** Makes the text of a file after the change from the one before; null removes the file, an edit of a missing file gets an empty text. */
export type Edit = (before: string) => string | null;

/** An edit that replaces a text which is in the file exactly once. */
export function replace(from: string | RegExp, to: string | ((matched: string) => string)): Edit {
  return (before) => {
    const found =
      typeof from === "string" ? before.split(from).length - 1 : (before.match(globally(from)) ?? []).length;
    if (found !== 1) throw new Error(`the kernel source has ${found} places like ${from}`);
    return before.replace(from, (matched) => (typeof to === "string" ? to : to(matched)));
  };
}

function globally(pattern: RegExp): RegExp {
  return new RegExp(pattern.source, `${pattern.flags}g`);
}

/** Several edits of one file, in order. */
export function all(...edits: readonly Edit[]): Edit {
  return (before) => edits.reduce<string | null>((text, edit) => (text === null ? null : edit(text)), before);
}

/** An edit that adds lines at the end. */
export function append(text: string): Edit {
  return (before) => `${before}${text}`;
}

/** A folder for the patches and the output of one test file. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), "kmend-test-"));
  #count = 0;

  /** A new empty folder, for the output of a build. */
  folder(): string {
    const path = join(this.path, `${this.#count++}`);
    mkdirSync(path);
    return path;
  }

  file(name: string, content: string | Uint8Array): string {
    const path = join(this.folder(), name);
    writeFileSync(path, content);
    return path;
  }

  /** Writes a unified diff of edits on files of a source tree. */
  patch(tree: string, edits: Readonly<Record<string, Edit>>, name = "change"): string {
    const at = this.folder();
    for (const side of ["a", "b"]) mkdirSync(join(at, side));
    for (const [path, edit] of Object.entries(edits)) {
      const before = read(join(tree, path));
      const after = edit(before ?? "");
      for (const [side, text] of [["a", before] as const, ["b", after] as const]) {
        if (text === null) continue;
        mkdirSync(dirname(join(at, side, path)), { recursive: true });
        writeFileSync(join(at, side, path), text, "latin1");
      }
    }
    return this.file(`${name}.patch`, difference(at));
  }

  remove(): void {
    removeTree(this.path);
  }
}

/** Removes a folder that may hold a kernel's source: with its 80,000 files, rm(1) takes a fraction of the time that Node takes. */
export function removeTree(path: string): void {
  execFileSync("rm", ["-rf", "--", path]);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
}

/** `diff` ends with 1 when there are differences. Epoch time stamps mark files that are missing on one side. */
function difference(folder: string): string {
  try {
    return execFileSync("diff", ["-urN", "a", "b"], { cwd: folder, encoding: "latin1" });
  } catch (error) {
    if (error instanceof Error && "status" in error && error.status === 1 && "stdout" in error)
      return String(error.stdout);
    throw error;
  }
}

/** What `kmend build --json` printed, and how it ended. */
export interface Built {
  readonly exitCode: number;
  readonly result: BuildResult;
  readonly stderr: string;
}

/** Runs `kmend build` for the newest stock kernel. */
export async function build(patches: readonly string[], output: string, ...more: readonly string[]): Promise<Built> {
  const words = ["build", ...patches, "--kernel", testedKernel, "--json", "--output", output, ...more];
  const { exitCode, stdout, stderr } = await kmend(...words);
  return { exitCode, stderr, result: JSON.parse(stdout) as BuildResult };
}

/** Names of the functions of a result, with `+` before new ones. */
export function functionNames(result: BuildResult): string[] {
  return result.functions.map(({ name, change }) => (change === "new" ? `+${name}` : name)).sort();
}
