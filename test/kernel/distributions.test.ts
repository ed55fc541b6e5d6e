import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { Distribution, DistributionContext } from "../../src/kernel/sources/distribution/distribution.ts";
import { Ubuntu } from "../../src/kernel/sources/distribution/ubuntu.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { FakeArchive } from "./fake-archive.ts";
import { offerUbuntuKernel } from "./ubuntu-kernels.ts";

/** What the suite needs of a distribution with apt; a new one gets a row. */
interface Subject {
  readonly make: (root: string) => Distribution;
  /** Releases, oldest first. */
  readonly releases: readonly [string, string];
  /** The newest, as its packages' version. */
  readonly version: string;
  /** Their series. */
  readonly series: string;
  readonly offer: (archive: FakeArchive) => Promise<void>;
}

const subjects: Readonly<Record<string, Subject>> = {
  debian: {
    make: (root) => new Debian({ root }, "amd64"),
    releases: ["6.1.0-9-amd64", "6.1.0-10-amd64"],
    version: "6.1.38-4",
    series: "6.1",
    offer: (archive) => archive.offerTwoKernels(),
  },
  ubuntu: {
    make: (root) => new Ubuntu({ root }, "amd64"),
    releases: ["5.15.0-91-generic", "5.15.0-94-generic"],
    version: "5.15.0-94.104",
    series: "5.15",
    async offer(archive) {
      await offerUbuntuKernel(archive, { release: "5.15.0-91-generic", version: "5.15.0-91.101" });
      await offerUbuntuKernel(archive, { release: "5.15.0-94-generic", version: "5.15.0-94.104" });
    },
  },
};

const path = process.env["PATH"];

describe.each(Object.entries(subjects))("the distribution %s", (name, { make, releases, version, series, offer }) => {
  let root: string;
  let archive: FakeArchive;
  let context: DistributionContext;
  let distribution: Distribution;
  const [older, newer] = releases;

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), "kmend-distribution-"));
    archive = await FakeArchive.create(join(root, "archive"));
    context = { cache: join(root, "cache"), progress: new SilentProgress() };
    vi.spyOn(process, "getuid").mockReturnValue(0);
    await offer(archive);
    distribution = make(join(root, "machine"));
  });
  afterEach(() => {
    process.env["PATH"] = path;
    vi.restoreAllMocks();
    rmSync(root, { recursive: true, force: true });
  });

  const downloads = async (): Promise<string[]> =>
    (await archive.commands()).filter((command) => command.startsWith("download"));
  const leftOvers = (): string[] =>
    readdirSync(context.cache, { recursive: true, encoding: "utf8" }).filter((file) => /\.tmp$|\.lock$/.test(file));

  test("has its name, and lists its kernels, oldest first", async () => {
    expect(distribution.name).toBe(name);
    const kernels = await distribution.kernels(context);
    expect(kernels.map(({ release }) => release)).toEqual(releases);
    expect(kernels.at(-1)).toEqual({ release: newer, packageVersion: version, installed: false, hasSource: true });
  });

  test("knows its newest kernel, alone and of a series, and says which series there are", async () => {
    expect(await distribution.newest(context)).toBe(newer);
    expect(await distribution.newest(context, series)).toBe(newer);
    await expect(distribution.newest(context, "2.6")).rejects.toMatchObject({
      code: "KERNEL_NOT_OFFERED",
      exitCode: 2,
      why: expect.stringContaining(series),
    });
  });

  test("names a kernel whole, also where something is built for it later, and refuses others with the nearest", async () => {
    expect(await distribution.releaseNamed(older, context)).toBe(older);
    expect(await distribution.releaseNamed(older, context, true)).toBe(older);
    await expect(distribution.releaseNamed(`${older}x`, context)).rejects.toMatchObject({
      code: "KERNEL_NOT_OFFERED",
      exitCode: 2,
      why: expect.stringContaining(older),
    });
  });

  test("fetches all files of one version, the source when it is asked for, and each once", async () => {
    const files = await distribution.fetch({ kind: "newest" }, context);
    expect(files).toMatchObject({ release: newer, packageVersion: version });
    for (const file of [files.imagePath, files.symversPath])
      expect(readFileSync(file, "utf8")).toMatch(new RegExp(`${version.replaceAll(".", "\\.")}$`));
    expect(readFileSync(files.configPath, "utf8")).not.toBe("");
    expect(readFileSync(join(files.modulesDir as string, "modules.order"), "utf8")).toContain("fuse.ko");
    expect((await downloads()).join(" ")).not.toContain("source");
    const { path: source } = await files.source();
    expect(readFileSync(source, "utf8")).toBe(`source of ${version}`);
    const before = await downloads();
    const again = await make(join(root, "machine")).fetch({ kind: "release", release: newer }, context);
    expect(again.imagePath).toBe(files.imagePath);
    expect((await again.source()).path).toBe(source);
    expect(await downloads()).toEqual(before);
    expect(leftOvers()).toEqual([]);
  });

  test("asks for no root and changes nothing but the cache", async () => {
    vi.spyOn(process, "getuid").mockReturnValue(1000);
    await distribution.fetch({ kind: "release", release: older }, context);
    expect(readdirSync(root).sort()).toEqual(["archive", "cache"]);
  });

  test("tells why a download failed, leaves nothing of it, and succeeds later", async () => {
    for (const [failure, code, exitCode] of [
      ["network", "NO_NETWORK", 5],
      ["space", "NO_SPACE", 1],
      ["hash", "DOWNLOAD_BROKEN", 5],
    ] as const) {
      await archive.fail(failure);
      const failed = distribution.fetch({ kind: "release", release: older }, context);
      await expect(failed).rejects.toMatchObject({ code, exitCode, hint: expect.stringMatching(/./) });
      expect(leftOvers()).toEqual([]);
    }
    await archive.fail("none");
    expect((await distribution.fetch({ kind: "release", release: older }, context)).release).toBe(older);
  });
});
