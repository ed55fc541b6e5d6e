import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { runPackageBuilder } from "../../src/cli/compat/kpatch-package-builder.ts";
import { Scratch } from "../integration/stock-kernel.ts";
import { FakeArchive } from "../kernel/fake-archive.ts";
import { smallModule } from "../update/small-module.ts";
import { type Captured, kmend } from "./captured.ts";

const scratch = new Scratch();
const path = process.env["PATH"];
const release = "6.1.0-9-amd64";
let archive: FakeArchive;
let patch: string;

beforeEach(async () => {
  vi.stubEnv("KMEND_CACHE", scratch.folder());
  archive = await FakeArchive.create(join(scratch.folder(), "archive"));
  await archive.offerKernel(release, "6.1.9-1");
  await archive.offerKernel("6.1.0-9-cloud-amd64", "6.1.9-1");
  patch = scratch.file("fix.patch", "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
});
afterEach(() => {
  process.env["PATH"] = path;
  vi.unstubAllEnvs();
});
afterAll(() => scratch.remove());

async function builder(...words: string[]): Promise<Captured> {
  let stdout = "";
  let stderr = "";
  const exitCode = await runPackageBuilder(words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

test.each([release, "6.1.0-9"])("a spec of kpatch-package-builder for %s names the whole release", async (kernel) => {
  const { exitCode, stdout, stderr } = await builder("-k", kernel, "-o", "-", patch);
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toContain(`\nkmend build --kernel '${release}' `);
  expect(stdout).toContain(`\n/var/lib/kpatch/${release}/kpatch-fix.ko\n`);
});

test("it writes no spec for another architecture than the kernel's", async () => {
  const { exitCode, stdout, stderr } = await builder("-k", release, "-a", "aarch64", "-o", "-", patch);
  expect([exitCode, stdout]).toEqual([2, ""]);
  expect(stderr).toContain(`the package would be for aarch64 (arm64), and kernel ${release} is for x86_64`);
});

test("a folder that takes no files is found before anything is asked for", async () => {
  const { exitCode, stderr } = await builder("-k", "6.1.0-10", "-o", "/proc/a.spec", patch);
  expect(exitCode).not.toBe(0);
  expect(stderr).toContain("error[NOT_WRITABLE]: cannot write into the output folder /proc");
});

test("it writes no spec for a kernel that does not exist", async () => {
  for (const words of [
    ["-k", "6.1.0-10", patch],
    ["-k", "6.1.0-9-amd", patch],
  ]) {
    const { exitCode, stdout, stderr } = await builder("-o", "-", ...words);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/there is no kernel 6\.1\.0-/);
    expect(stderr).toContain(release);
  }
});

test("it writes no spec for a kernel whose source or packages are gone: rpmbuild could not build it", async () => {
  await archive.offerKernel("6.1.0-8-amd64", "6.1.8-1", false);
  const { exitCode, stdout, stderr } = await builder("-k", "6.1.0-8", "-o", "-", patch);
  expect([exitCode, stdout]).toEqual([5, ""]);
  expect(stderr).toContain("error[SOURCE_NOT_OFFERED]: the archive does not offer the source of kernel 6.1.0-8-amd64");
  expect(stderr).toContain(release);
});

test("a manifest may leave the architecture out too", async () => {
  const text = "packages:\n  - name: fix\n    patches: [{filename: fix.patch, kernels: [6.1.0-9]}]\n";
  const manifest = join(patch, "..", "fleet.yaml");
  writeFileSync(manifest, text);
  const { exitCode, stdout, stderr } = await builder("-o", "-", "--manifest", manifest);
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toContain(`kmend build --kernel '${release}' `);
});

test("a finished module is of the kernel that is named in either form", async () => {
  const module = smallModule(scratch.folder(), { name: "kpatch-fix", release });
  for (const kernel of [release, "6.1.0-9"]) {
    const { exitCode, stderr } = await builder("-k", kernel, "-o", "-", module);
    expect(exitCode, stderr).toBe(0);
  }
  for (const kernel of ["6.1.0", "6.1.0-9-amd"])
    expect((await builder("-k", kernel, "-o", "-", module)).exitCode).toBe(2);
});

test("a spec for the newest kernel of another distribution names that distribution's", async () => {
  await archive.offer({
    name: "linux-image-amd64",
    version: "6.1.9-1",
    fields: { Depends: `linux-image-${release} (= 6.1.9-1)` },
  });
  for (const name of [
    "linux-image-5.15.0-9-generic",
    "linux-modules-5.15.0-9-generic",
    "linux-headers-5.15.0-9-generic",
  ])
    await archive.offer({ name, version: "5.15.0-9.9", fields: { Source: "linux-signed" } });
  await archive.offer({
    name: "linux-image-generic",
    version: "5.15.0.9.9",
    fields: { Depends: "linux-image-5.15.0-9-generic" },
  });
  const specOf = async (...words: string[]): Promise<string> => {
    const output = scratch.folder();
    const { exitCode, stderr } = await kmend(
      "package",
      "--format",
      "spec",
      "--kernel",
      "newest",
      "-o",
      output,
      ...words,
      patch,
    );
    expect(exitCode, stderr).toBe(0);
    return readFileSync(join(output, readdirSync(output).find((file) => file.endsWith(".spec")) as string), "utf8");
  };
  expect(await specOf("--distribution", "ubuntu")).toContain(
    "\nkmend build '--distribution' 'ubuntu' --kernel '5.15.0-9-generic' ",
  );
  expect(await specOf("--distribution", "debian")).toContain(
    `\nkmend build '--distribution' 'debian' --kernel '${release}' `,
  );
});
