import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { DistributionContext, KernelSource } from "../../src/kernel/sources/distribution/distribution.ts";
import { sourceEntries } from "../../src/kernel/sources/distribution/source-patches.ts";
import { acquireSource } from "../../src/kernel/sources/fetch-source.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { FakeArchive } from "./fake-archive.ts";

let root: string;
let archive: FakeArchive;
let context: DistributionContext;
const environment = { ...process.env };
const release = "6.1.0-9-rt-amd64";

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "kmend-patches-"));
  archive = await FakeArchive.create(join(root, "archive"));
  context = { cache: join(root, "cache"), progress: new SilentProgress() };
  await archive.offerKernel(release, "6.1.27-1");
  await archive.offerKernel("6.1.0-9-amd64", "6.1.27-1");
});
afterEach(() => {
  process.env["PATH"] = environment["PATH"];
  rmSync(root, { recursive: true, force: true });
});

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** Puts the Debian part of a source package into the archive. */
function offerSource(name: string, files: Readonly<Record<string, string>>): void {
  write(Object.fromEntries(Object.entries(files).map(([path, text]) => [`work/debian/${path}`, text])));
  mkdirSync(join(root, "archive/sources"), { recursive: true });
  execFileSync("tar", ["-C", join(root, "work"), "-cJf", join(root, "archive/sources", name), "debian"]);
}

async function sourceOf(name: string): Promise<KernelSource> {
  const files = await new Debian({ root: join(root, "machine") }, "amd64").fetch(
    { kind: "release", release: name },
    context,
  );
  return files.source();
}

describe("a real-time kernel of Debian", () => {
  test("has the patches of its source package, fetched once, beside the source of the other flavours", async () => {
    offerSource("linux_6.1.27-1.debian.tar.xz", {
      "patches-rt/series": "a.patch\n",
      "patches-rt/a.patch": "",
      control: "",
    });
    const source = await sourceOf(release);
    expect(source).toMatchObject({ kind: "archive", patches: expect.stringContaining(join(root, "cache")) });
    const { patches = "" } = source as { patches?: string };
    expect(readdirSync(patches).sort()).toEqual(["a.patch", "series"]);
    expect(await sourceOf("6.1.0-9-amd64")).toMatchObject({
      path: (source as { path: string }).path,
      patches: undefined,
    });
    const commands = await archive.commands();
    expect(await sourceOf(release)).toEqual(source);
    expect(await archive.commands()).toEqual(commands);
    expect(commands.filter((command) => command.startsWith("source "))).toEqual([
      "source --download-only --diff-only linux=6.1.27-1",
    ]);
    expect(readdirSync(dirname(patches)).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("cannot be built for when the archive has no source package of this version, or none with such patches", async () => {
    await expect(sourceOf(release)).rejects.toMatchObject({
      code: "PATCHES_NOT_OFFERED",
      exitCode: 5,
      hint: expect.stringContaining("--kernel"),
    });
    offerSource("linux_6.1.27-1.debian.tar.xz", { control: "" });
    await expect(sourceOf(release)).rejects.toMatchObject({
      code: "PATCHES_NOT_OFFERED",
      why: expect.stringContaining("patches-rt/series"),
    });
    expect(readdirSync(join(root, "cache/packages")).filter((name) => name.includes("patches"))).toEqual([]);
  });

  test("is a configuration of the same source since 6.13.9, which has no patches", async () => {
    await archive.offerKernel("6.16.3+deb13-rt-amd64", "6.16.3-1~bpo13+1");
    expect(await sourceOf("6.16.3+deb13-rt-amd64")).toMatchObject({ kind: "archive", patches: undefined });
    expect(await archive.commands()).not.toContain("source --download-only --diff-only linux=6.16.3-1~bpo13+1");
  });
});

test("package sources are asked for source packages, whatever their form", async () => {
  write({
    "apt/sources.list":
      "# comment\ndeb http://one.example.org stable main\ndeb-src http://one.example.org stable main\n",
    "apt/sources.list.d/two.list": "deb [arch=amd64 signed-by=/key] http://two.example.org stable main contrib\n",
    "apt/sources.list.d/three.sources":
      "Types: deb\nURIs: http://three.example.org\nSuites: stable\nComponents: main\nSigned-By: /key\n\nTypes: deb deb-src\nURIs: http://four.example.org\n",
    "apt/sources.list.d/five.list.save": "deb http://five.example.org stable main\n",
  });
  expect(Object.fromEntries(await sourceEntries(join(root, "apt")))).toEqual({
    "kmend-sources.list": "deb-src http://one.example.org stable main\n",
    "two.list": "deb-src [arch=amd64 signed-by=/key] http://two.example.org stable main contrib\n",
    "three.sources":
      "Types: deb-src\nURIs: http://three.example.org\nSuites: stable\nComponents: main\nSigned-By: /key\n\nTypes: deb-src\nURIs: http://four.example.org\n",
  });
});

describe("a series of patches", () => {
  const patch = (from: string, to: string): string =>
    `--- a/kernel/a.c\n+++ b/kernel/a.c\n@@ -1 +1 @@\n-${from}\n+${to}\n`;
  const get = async (series: Readonly<Record<string, string>>): Promise<string> => {
    write({ "linux/Makefile": "", "linux/Kbuild": "", "linux/scripts/x": "", "linux/kernel/a.c": "one\n", ...series });
    execFileSync("tar", ["-C", root, "-cf", join(root, "linux.tar"), "linux"]);
    const source = { kind: "archive", path: join(root, "linux.tar"), patches: join(root, "series") } as const;
    await acquireSource(source, join(root, "tree"), join(root, "guard"));
    return readFileSync(join(root, "tree/kernel/a.c"), "utf8");
  };

  test("is applied in its order, and leaves nothing else", async () => {
    // The last line without its end, a comment, an option of quilt.
    const series = "# first\n\nz.patch\nb/a.patch -p1";
    const text = await get({
      "series/series": series,
      "series/z.patch": patch("one", "two"),
      "series/b/a.patch": patch("two", "three"),
    });
    expect(text).toBe("three\n");
    expect(readdirSync(join(root, "tree/kernel"))).toEqual(["a.c"]);
  });

  test("of an archive that others may write to makes a tree that only the user may", async () => {
    write({ "linux/scripts/x": "" });
    for (const name of ["linux/scripts", "linux/scripts/x"]) chmodSync(join(root, name), 0o777);
    await get({ "series/series": "z.patch", "series/z.patch": patch("one", "two") });
    for (const name of ["scripts", "scripts/x"]) expect(statSync(join(root, "tree", name)).mode & 0o777).toBe(0o755);
  });

  test("that does not apply is an error with its name", async () => {
    const files = {
      "series/series": "a.patch\nb.patch\n",
      "series/a.patch": patch("one", "two"),
      "series/b.patch": patch("one", "two"),
    };
    await expect(get(files)).rejects.toMatchObject({ code: "SOURCE_DAMAGED", why: expect.stringContaining("b.patch") });
  });
});
