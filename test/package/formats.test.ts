import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { readFinishedModule } from "../../src/package/built-module.ts";
import { architectures } from "../../src/package/package-name.ts";
import { type PackagePlan, planPackage } from "../../src/package/package-plan.ts";
import { sourceDate } from "../../src/package/source-date.ts";
import { type PackageFormat, packageFormats, writePackage } from "../../src/package/write-package.ts";
import { sha256 } from "../../src/support/cache.ts";
import { Scratch } from "../integration/stock-kernel.ts";
import { smallModule } from "../update/small-module.ts";

/**
 * What every package format has to do. A new format gets a row here; `unpack` is a shell line that unpacks the package `$1` into the current folder, with the modules in
 * it somewhere.
 */
const conventions: Readonly<Record<PackageFormat, { readonly name: RegExp; readonly unpack: string }>> = {
  rpm: { name: /^kpatch-patch-.*\.x86_64\.rpm$/, unpack: 'rpm2cpio "$1" | cpio -idm --quiet' },
  srpm: { name: /^kpatch-patch-.*\.src\.rpm$/, unpack: 'rpm2cpio "$1" | cpio -idm --quiet' },
  spec: { name: /^kpatch-patch-.*\.spec$/, unpack: 'cp "$(dirname "$1")"/* .' },
  deb: { name: /^kpatch-patch-.*_amd64\.deb$/, unpack: 'dpkg-deb -x "$1" .' },
  tar: { name: /^kpatch-patch-.*\.tar\.gz$/, unpack: 'tar -xzf "$1"' },
};
const release = "6.1.0-1-amd64";
// Each test starts several programs.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const scratch = new Scratch();
let module: string;

beforeAll(() => {
  module = smallModule(scratch.folder(), { name: "livepatch-fix", release });
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => scratch.remove());

/** A package of one finished module. */
async function plan(): Promise<PackagePlan> {
  const finished = await readFinishedModule(module);
  return planPackage(
    {
      architecture: architectures[62] as NonNullable<(typeof architectures)[number]>,
      modules: [{ file: finished.file, release, finished }],
      kernels: [],
      patches: [],
      patchesOf: new Map(),
      ownTree: false,
      buildWords: [],
      origin: "made by a test",
      epoch: await sourceDate([module]),
    },
    { profile: "kpatch-patch" },
  );
}

test("every format has its conventions here", () => {
  expect(Object.keys(conventions).sort()).toEqual([...packageFormats].sort());
});

describe.each(packageFormats)("format %s", (format) => {
  const { name, unpack } = conventions[format];

  test("names its file by its own convention, and says what it wrote", async () => {
    const output = scratch.folder();
    const written = await writePackage(await plan(), { format, output });
    const content = readFileSync(written.path);
    expect(written.path).toMatch(new RegExp(`^${output}/[^/]+$`));
    expect(written.path.slice(output.length + 1)).toMatch(name);
    expect(written).toMatchObject({ format, bytes: content.length, sha256: sha256(content) });
    const others = readdirSync(output).filter((file) => !name.test(file));
    // A spec has its sources beside it.
    expect(others.map((file) => file.replace(/^.*\./, ""))).toEqual(format === "spec" ? ["ko", "json"] : []);
    const { sha256: digest } = await readFinishedModule(module);
    expect(written.modules).toEqual([
      { kernel: release, path: expect.stringMatching(/livepatch-fix\.ko$/), sha256: digest, signed: false },
    ]);
  });

  test("holds the module to the byte, with its debug information", async () => {
    const { path } = await writePackage(await plan(), { format, output: scratch.folder() });
    const folder = scratch.folder();
    execFileSync("sh", ["-c", unpack, "sh", path], { cwd: folder });
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ko"));
    expect(files).toHaveLength(1);
    expect(readFileSync(join(folder, files[0] as string)).equals(readFileSync(module))).toBe(true);
  });

  test("is the same bytes at another time, under another umask, in another folder; and others at another SOURCE_DATE_EPOCH", async () => {
    vi.stubEnv("SOURCE_DATE_EPOCH", "1700000000");
    const bytes = async (): Promise<Buffer> =>
      readFileSync((await writePackage(await plan(), { format, output: scratch.folder() })).path);
    const first = await bytes();
    utimesSync(module, 1_600_000_000, 1_600_000_000);
    process.umask(0o077);
    try {
      expect((await bytes()).equals(first)).toBe(true);
    } finally {
      process.umask(0o022);
    }
    vi.stubEnv("SOURCE_DATE_EPOCH", "1800000000");
    expect((await bytes()).equals(first)).toBe(false);
  });

  test("leaves nothing behind when it is interrupted, or its folder is missing", async () => {
    const output = scratch.folder();
    const missing = writePackage(await plan(), { format, output: join(output, "none") });
    await expect(missing).rejects.toMatchObject({ code: "OUTPUT_MISSING", exitCode: 2 });
    expect(readdirSync(output)).toEqual([]);
    if (format === "spec") return;
    await expect(writePackage(await plan(), { format, output, signal: AbortSignal.abort() })).rejects.toThrow();
    expect(readdirSync(output)).toEqual([]);
  });
});
