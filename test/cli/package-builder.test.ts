import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { readManifest } from "../../src/package/package-manifest.ts";
import { type Ended, runProgram } from "../integration/fresh-root.ts";
import { Scratch } from "../integration/stock-kernel.ts";
import { smallModule } from "../update/small-module.ts";

// What kpatch-package-builder 0.1.0 did wrong. Its wrong module for one of two kernels and its file names are looked at in test/integration/packages.test.ts, with real builds.

const builder = fileURLToPath(new URL("../../compat/kpatch-package-builder", import.meta.url));
const kernel = "3.10.0-229.el7";
// Each test starts several programs.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const scratch = new Scratch();
let module: string;
let folder: string;

beforeAll(() => {
  module = smallModule(scratch.folder(), { name: "kpatch-fix", release: `${kernel}.x86_64` });
});
beforeEach(() => {
  folder = scratch.folder();
  copyFileSync(module, join(folder, "kpatch-fix.ko"));
  mkdirSync(join(folder, "patches"));
  for (const name of ["a.patch", "b.patch", "v1.2.patch"]) {
    writeFileSync(join(folder, "patches", name), "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
  }
});
afterAll(() => scratch.remove());

/** Runs it in the folder; programs of `programs` come before those of the system. */
function run(words: readonly string[], programs = scratch.folder()): Ended {
  const PATH = `${programs}${delimiter}${process.env["PATH"]}`;
  return runProgram("sh", ["-c", 'cd "$0" && exec "$@"', folder, builder, ...words], { PATH, TMPDIR: scratch.path });
}

function spec(...words: string[]): string {
  const ended = run(words);
  expect(ended, ended.output).toMatchObject({ exitCode: 0 });
  const path = /writing spec file to (\S+)\.\.\.\n/.exec(ended.output)?.[1] as string;
  return readFileSync(join(folder, path), "utf8");
}

function manifest(text: string): string {
  writeFileSync(join(folder, "fleet.yaml"), text);
  return "fleet.yaml";
}

/** A program that notes that it was called, and fails. */
function failing(programs: string, name: string): void {
  writeFileSync(join(programs, name), `#!/bin/sh\necho "${name} $*" >>'${programs}/called'\necho no >&2\nexit 3\n`);
  chmodSync(join(programs, name), 0o755);
}

describe("a package that is built", () => {
  test("is found under the version and release that were asked for", () => {
    expect(run(["-b", "--set-version", "2.10", "--set-release", "3", "kpatch-fix.ko"])).toMatchObject({ exitCode: 0 });
    expect(readdirSync(folder)).toContain("kpatch-module-fix-2.10-3.x86_64.rpm");
  });

  test("needs rpmbuild and no other program of Red Hat's, and nobody else's rights", () => {
    const programs = scratch.folder();
    for (const name of ["yum", "dnf", "yumdownloader", "sudo", "rpmdev-setuptree"]) failing(programs, name);
    expect(run(["-b", "kpatch-fix.ko"], programs)).toMatchObject({ exitCode: 0 });
    expect(readdirSync(programs)).not.toContain("called");
  });

  test("is for the architecture that was asked for, or is not made", () => {
    const { exitCode, output } = run(["-b", "-a", "aarch64", "kpatch-fix.ko"]);
    expect(exitCode).toBe(2);
    expect(output).toContain("is for x86_64, the package for aarch64");
    expect(readdirSync(folder).sort()).toEqual(["kpatch-fix.ko", "patches"]);
  });

  test("is not there when rpmbuild fails, and the reason is told", () => {
    const programs = scratch.folder();
    failing(programs, "rpmbuild");
    const { exitCode, output } = run(["-b", "kpatch-fix.ko"], programs);
    expect(exitCode).toBe(1);
    expect(output).toContain("error[PROGRAM_FAILED]");
    expect(output).toContain("rpmbuild");
    expect(output).not.toMatch(/^\s+at /m);
    expect(readdirSync(folder).sort()).toEqual(["kpatch-fix.ko", "patches"]);
  });
});

describe("a spec", () => {
  test("fetches nothing, installs nothing, and leaves the check of the compiler on", () => {
    const text = spec("-k", kernel, "-p", "patches/a.patch");
    expect(text).not.toMatch(/\b(yum|dnf|yumdownloader|sudo|curl|wget|skip-gcc-check|vmlinux)\b/);
    expect(text).toContain(`kmend build --kernel '${kernel}.x86_64' --name 'kpatch-a'`);
  });

  test("is for the architecture that was asked for", () => {
    const text = spec("-k", kernel, "-a", "aarch64", "patches/a.patch");
    expect(text).toContain("\nExclusiveArch: aarch64\n");
    expect(text).toContain(`/var/lib/kpatch/${kernel}.aarch64/kpatch-a.ko\n`);
  });

  test("has its whole name, dots included", () => {
    spec("-k", kernel, "patches/v1.2.patch");
    expect(readdirSync(folder)).toContain("v1.2.spec");
  });

  test("is the same every time", () => {
    const words = ["-o", "-", "--manifest"];
    const text = (kernels: string) =>
      run([
        ...words,
        manifest(`packages:
  - name: both
    patches:
      - {filename: patches/a.patch, kernels: [${kernels}]}
      - {filename: patches/b.patch, kernels: [${kernels}]}
`),
      ]).output;
    const first = text(`${kernel}, 3.10.0-327.el7`);
    expect(first.match(/^kmend build .*/gm)).toHaveLength(2);
    expect(text(`${kernel}, 3.10.0-327.el7`)).toBe(first);
  });

  test("of a patch whose name no spec can hold comes with a copy under another", () => {
    copyFileSync(join(folder, "patches/a.patch"), join(folder, "patches/the fix.patch"));
    expect(spec("-k", kernel, "-p", "patches/the fix.patch")).toContain("\nSource0: the-fix.patch\n");
    expect(readdirSync(folder)).toContain("the-fix.patch");
  });
});

describe("a manifest", () => {
  const two = `packages:
  - name: one.x
    version: 1.10
    patches: [{filename: patches/a.patch, kernels: [${kernel}]}]
  - name: two.x
    version: 007
    patches: [{filename: patches/b.patch, kernels: [${kernel}]}]
`;

  test("gives each package its own version, as a text, and a spec of its own", () => {
    expect(run(["--manifest", manifest(two)])).toMatchObject({ exitCode: 0 });
    expect(readFileSync(join(folder, "one.x.spec"), "utf8")).toContain("\nVersion: 1.10\n");
    expect(readFileSync(join(folder, "two.x.spec"), "utf8")).toContain("\nVersion: 007\n");
  });

  test("of several packages never writes one spec over another", () => {
    const { exitCode, output } = run(["--manifest", manifest(two), "-o", "all.spec"]);
    expect(exitCode).toBe(2);
    expect(output).toContain("would hold the last of 2 specs only");
    expect(readdirSync(folder)).not.toContain("all.spec");
  });

  test("names the kernels itself", () => {
    const { exitCode, output } = run(["--manifest", manifest(two), "-k", kernel]);
    expect(exitCode).toBe(2);
    expect(output).toContain("the manifest names the kernels");
  });

  test.each(["name", "version", "release", "kernel"])("whose %s would be a command is refused", async (key) => {
    for (const value of ["$(touch witness)", "%(touch witness)", "`touch witness`", "a\nb", "../x"]) {
      const { name, version, release, ...entry } = { name: "x", version: "1", release: "1", kernel, [key]: value };
      const patch = { filename: "patches/a.patch", kernels: [entry.kernel] };
      const path = manifest(JSON.stringify({ packages: [{ name, version, release, patches: [patch] }] }));
      await expect(readManifest(join(folder, path)), value).rejects.toMatchObject({
        code: "PACKAGE_VALUE",
        exitCode: 2,
      });
    }
  });
});
