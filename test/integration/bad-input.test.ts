import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Captured, kmend } from "../cli/captured.ts";
import { append, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const scratch = new Scratch();
let tree: string;

beforeAll(async () => {
  tree = (await stockKernel()).tree.path;
});
afterAll(() => scratch.remove());

/** Runs a build that must fail: one clear error, nothing in the output folder. */
async function fails(words: readonly string[], output = scratch.folder()): Promise<Captured> {
  const captured = await kmend("build", ...words, "--output", output);
  expect(captured.exitCode).not.toBe(0);
  expect(captured.stderr.match(/^error\[/gm), captured.stderr).toHaveLength(1);
  expect(captured.stderr).not.toContain("INTERNAL");
  expect(captured.stderr, "an error says what to do").toContain("hint:");
  expect(captured.stdout).toBe("");
  expect(readdirSync(output)).toEqual([]);
  return captured;
}

const text = readFileSync(example, "utf8");
const swapped = text
  .replace(/^\+(?!\+\+)/gm, "?")
  .replace(/^-(?!--)/gm, "+")
  .replace(/^\?/gm, "-");

interface BadPatch {
  readonly title: string;
  readonly content: string | Uint8Array;
  readonly code: string;
  /** What the error must name. */
  readonly names: string;
}

const badPatches: readonly BadPatch[] = [
  { title: "empty", content: "", code: "PATCH_EMPTY", names: "bad.patch" },
  { title: "white space", content: "\n \n", code: "PATCH_EMPTY", names: "bad.patch" },
  { title: "binary", content: Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0), code: "PATCH_BINARY", names: "bad.patch" },
  {
    title: "of binary files",
    content: "diff --git a/logo.png b/logo.png\nGIT binary patch\nliteral 0\n\n",
    code: "PATCH_BINARY",
    names: "bad.patch",
  },
  { title: "no diff", content: "Dear maintainer,\nplease apply.\n", code: "PATCH_MALFORMED", names: "bad.patch" },
  {
    title: "cut off",
    content: text.slice(0, text.indexOf("+\tshow_val_kb")),
    code: "PATCH_MALFORMED",
    names: "bad.patch",
  },
  { title: "reversed", content: swapped, code: "PATCH_REVERSED", names: "fs/proc/meminfo.c" },
  {
    title: "for another version",
    content: text.replace('-\tshow_val_kb(m, "MemFree: ', '-\tshow_val_kb(m, "MemLeft: '),
    code: "PATCH_DOES_NOT_APPLY",
    names: "fs/proc/meminfo.c: hunk 1",
  },
  {
    title: "for a file that is not there",
    content: text.replaceAll("meminfo.c", "meminfo-ng.c"),
    code: "PATCH_DOES_NOT_APPLY",
    names: "fs/proc/meminfo-ng.c",
  },
  {
    title: "out of the tree",
    content: text.replaceAll("fs/proc/meminfo.c", "../../../etc/passwd"),
    code: "PATCH_PATH",
    names: "etc/passwd",
  },
];

describe("a patch that is", () => {
  test.each(badPatches)("$title: $code", async ({ content, code, names }) => {
    const { exitCode, stderr } = await fails([scratch.file("bad.patch", content), "--kernel", "newest"]);
    expect(stderr).toContain(`error[${code}]`);
    expect(stderr).toContain(names);
    expect(exitCode).toBe(1);
  });

  test("missing: PATCH_MISSING", async () => {
    const { exitCode, stderr } = await fails([join(scratch.path, "nowhere.patch"), "--kernel", "newest"]);
    expect(stderr).toContain("error[PATCH_MISSING]");
    expect(exitCode).toBe(2);
  });

  test("not compilable: the compiler's words, with the line", async () => {
    const patch = scratch.patch(tree, {
      "fs/proc/version.c": append("\nint kmend_broken(void) { return nothing; }\n"),
    });
    const { exitCode, stderr } = await fails([patch, "--kernel", "newest"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("error[COMPILE_FAILED]: fs/proc/version.c does not compile");
    expect(stderr).toMatch(/fs\/proc\/version\.c:\d+:\d+: error: .*nothing/);
    expect(stderr).toMatch(/the full log is \S+\.log/);
  });

  test("the second of two, and does not fit behind the first", async () => {
    const first = scratch.patch(tree, { "fs/proc/meminfo.c": replace('"MemFree:        "', '"Mem Free:       "') });
    const { stderr } = await fails([first, example, "--kernel", "newest"]);
    expect(stderr).toContain("error[PATCH_DOES_NOT_APPLY]");
    expect(stderr).toContain("meminfo-string.patch");
  });

  test("fuzzy is applied and told", async () => {
    const fuzzy = text.replace("MemAvailable:", "MemAvailably:").replace(/^@@.*@@/m, "@@ -61,3 +61,3 @@");
    const words = ["build", scratch.file("fuzzy.patch", fuzzy), "--kernel", "newest", "-o", scratch.folder()];
    const { exitCode, stderr } = await kmend(...words);
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/note: fuzzy\.patch: hunk 1 of fs\/proc\/meminfo\.c applied with fuzz \d/);
  });
});

describe("a request that cannot be met", () => {
  test("no such kernel: those on offer are listed", async () => {
    const { exitCode, stderr } = await fails([example, "--kernel", "9.9.0-9-amd64"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("error[KERNEL_NOT_OFFERED]");
    expect(stderr).toMatch(/\d+\.\d+\S*-amd64, /);
  });

  test("an output folder that is not there", async () => {
    const words = ["build", example, "--kernel", "newest", "-o", join(scratch.path, "nowhere")];
    const { exitCode, stderr } = await kmend(...words);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("error[OUTPUT_MISSING]");
  });

  test("an output folder that is a file", async () => {
    const file = scratch.file("file", "");
    const { exitCode, stderr } = await kmend("build", example, "--kernel", "newest", "-o", file);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(file);
    expect(stderr.match(/^error\[/gm)).toHaveLength(1);
    expect(stderr).not.toContain("INTERNAL");
    expect(readFileSync(file, "utf8")).toBe("");
  });

  test("a module name that the kernel could not hold", async () => {
    const { exitCode, stderr } = await fails([example, "--kernel", "newest", "--name", "x".repeat(56)]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("55");
  });
});

/** Mounts a small file system; needs root and leave to mount. */
function mountSmall(folder: string, kilobytes: number): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${kilobytes}k`, "kmend-test", folder], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function mayMount(): boolean {
  const folder = scratch.folder();
  const may = mountSmall(folder, 4);
  if (may) execFileSync("umount", [folder]);
  return may;
}

describe.skipIf(!mayMount())("no space left", () => {
  const mounted: string[] = [];
  const cache = process.env["KMEND_CACHE"];
  afterEach(() => {
    for (const folder of mounted.splice(0)) execFileSync("umount", [folder]);
    if (cache === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = cache;
  });

  function smallFolder(kilobytes: number): string {
    const folder = scratch.folder();
    expect(mountSmall(folder, kilobytes)).toBe(true);
    mounted.push(folder);
    return folder;
  }

  test("in the output folder", async () => {
    const { exitCode, stderr } = await fails([example, "--kernel", "newest"], smallFolder(8));
    expect(exitCode).toBe(1);
    expect(stderr).toContain("error[NO_SPACE]");
  });

  test.each([0, 64, 8192])("in a cache folder of %i more KiB", async (kilobytes) => {
    const folder = smallFolder(kilobytes + 4);
    process.env["KMEND_CACHE"] = join(folder, "cache");
    const { stderr } = await fails([example, "--kernel", "newest"]);
    expect(stderr).toContain("error[NO_SPACE]");
  });
});

describe("a download that is broken", () => {
  const { PATH: path, KMEND_CACHE: cache } = process.env;
  afterEach(() => {
    process.env["PATH"] = path;
    if (cache === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = cache;
  });

  /** An apt-get whose `download` writes what `content` prints, for each package that is asked for. */
  function useAptGet(content: string): string {
    const programs = scratch.folder();
    const script = `#!/bin/sh
for word; do
  case $word in *=*[0-9]*) case $word in *::*) ;; *) ${content} >"\${word%%=*}_\${word#*=}_amd64.deb" ;; esac ;; esac
done
`;
    writeFileSync(join(programs, "apt-get"), script, { mode: 0o755 });
    process.env["PATH"] = `${programs}:${path}`;
    const empty = join(scratch.folder(), "cache");
    mkdirSync(empty);
    process.env["KMEND_CACHE"] = empty;
    return empty;
  }

  test.each([
    ["is empty", "true"],
    ["is a page of a proxy", "echo '<html>please log in</html>'"],
    ["ends early", "printf '!<arch>\\ndebian-binary   1700000000  0     0     100644  4         `\\n2.0\\n'"],
  ])("%s", async (_title, content) => {
    const empty = useAptGet(content);
    const { exitCode, stderr } = await fails([example, "--kernel", "newest"]);
    expect(exitCode, stderr).toBe(5);
    expect(stderr).toContain("error[PACKAGE_DAMAGED]");
    const left = readdirSync(empty, { recursive: true }).map(String);
    expect(left.filter((name) => /linux-|\.deb$|\.tmp$/.test(name))).toEqual([]);
  });
});
