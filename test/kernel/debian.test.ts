import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type {
  DistributionContext,
  KernelFiles,
  KernelRequest,
} from "../../src/kernel/sources/distribution/distribution.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { FakeArchive } from "./fake-archive.ts";

let root: string;
let archive: FakeArchive;
let context: DistributionContext;
let progress: SilentProgress;
const environment = { ...process.env };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-debian-"));
  archive = await FakeArchive.create(join(root, "archive"));
  progress = new SilentProgress();
  context = { cache: join(root, "cache"), progress };
  vi.spyOn(process, "getuid").mockReturnValue(0);
});
afterEach(async () => {
  process.env["PATH"] = environment["PATH"];
  vi.restoreAllMocks();
  await rm(root, { recursive: true, force: true });
});

const debian = (): Debian => new Debian({ root: join(root, "machine") }, "amd64");
const sourceOf = async ({ source }: KernelFiles): Promise<string> => (await source()).path;
const asked = (release: string): KernelRequest => ({ kind: "release", release });

const offerTwoKernels = (): Promise<void> => archive.offerTwoKernels();

describe("downloading", () => {
  beforeEach(offerTwoKernels);

  test("image and headers come at once, the source when it is asked for, each only once", async () => {
    const files = await debian().fetch(asked("6.1.0-9-amd64"), context);
    expect(files.makeFlags?.map((flag) => flag.split("=")[0])).toEqual([
      ...["DISTRIBUTION_OFFICIAL_BUILD", "DISTRIBUTOR", "DISTRIBUTION_VERSION"],
    ]);
    expect(files).toMatchObject({ release: "6.1.0-9-amd64", packageVersion: "6.1.27-1" });
    expect(await readFile(files.imagePath, "utf8")).toBe("image of 6.1.0-9-amd64 6.1.27-1");
    expect(await readFile(files.symversPath, "utf8")).toBe("symvers of 6.1.27-1");
    expect(await readdir(files.modulesDir ?? "")).toEqual(["modules.order"]);
    expect(await readFile(await sourceOf(files), "utf8")).toBe("source of 6.1.27-1");
    const again = await debian().fetch(asked("6.1.0-9-amd64"), context);
    expect(await sourceOf(again)).toBe(await sourceOf(files));
    expect(await archive.commands()).toEqual([
      "download linux-image-6.1.0-9-amd64=6.1.27-1 linux-headers-6.1.0-9-amd64=6.1.27-1",
      "download linux-source-6.1=6.1.27-1",
    ]);
    expect((await readdir(join(context.cache, "packages"))).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("newest is what the newest meta package depends on", async () => {
    expect(await debian().newest(context)).toBe("6.1.0-10-amd64");
    expect((await debian().fetch({ kind: "newest" }, context)).packageVersion).toBe("6.1.38-4");
  });

  test("two at once download once", async () => {
    await Promise.all([
      debian().fetch(asked("6.1.0-9-amd64"), context),
      debian().fetch(asked("6.1.0-9-amd64"), context),
    ]);
    expect(await archive.commands()).toHaveLength(1);
  });

  test("what was unpacked stays usable when the archive drops it", async () => {
    const first = await debian().fetch(asked("6.1.0-9-amd64"), context);
    await sourceOf(first);
    await rm(join(context.cache, "catalog"), { recursive: true });
    await archive.forget();
    vi.mocked(process.getuid as () => number).mockReturnValue(1000);
    const files = await debian().fetch(asked("6.1.0-9-amd64"), context);
    expect(files.imagePath).toBe(first.imagePath);
    expect(await sourceOf(files)).toBe(await sourceOf(first));
  });

  test("a truncated download leaves nothing, and the next run repairs it", async () => {
    await archive.fail("truncated");
    await expect(debian().fetch(asked("6.1.0-9-amd64"), context)).rejects.toMatchObject({
      code: "PACKAGE_DAMAGED",
      where: expect.stringMatching(/^linux-.*\.deb$/),
    });
    const left = await readdir(join(context.cache, "packages"));
    expect(left.filter((name) => !name.endsWith(".lock"))).toEqual([]);
    await archive.fail("none");
    expect((await debian().fetch(asked("6.1.0-9-amd64"), context)).release).toBe("6.1.0-9-amd64");
  });

  test("outdated lists are updated by root", async () => {
    await archive.fail("outdated once");
    expect((await debian().fetch(asked("6.1.0-9-amd64"), context)).release).toBe("6.1.0-9-amd64");
    expect(await archive.commands()).toContain("update");
    expect(progress.notes.join()).toMatch(/apt-get update/);
  });

  test.each([
    ["network", "NO_NETWORK", /reached/, 5],
    ["space", "NO_SPACE", /no space/, 1],
    ["hash", "DOWNLOAD_BROKEN", /signed/, 5],
    ["outdated", "LISTS_OUTDATED", /no longer/, 5],
  ] as const)("%s: %s", async (failure, code, message, exitCode) => {
    await archive.fail(failure);
    vi.mocked(process.getuid as () => number).mockReturnValue(1000);
    await expect(debian().fetch(asked("6.1.0-9-amd64"), context)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      exitCode,
    });
  });
});

describe("choosing", () => {
  test("a running kernel that is not packaged: what is on offer, and exit 2", async () => {
    await offerTwoKernels();
    const request: KernelRequest = { kind: "running", release: "6.18.4-own", banner: "#1 SMP" };
    await expect(debian().fetch(request, context)).rejects.toMatchObject({
      code: "RUNNING_KERNEL_NOT_PACKAGED",
      why: expect.stringContaining("6.1.0-10-amd64, 6.1.0-9-amd64"),
      hint: expect.stringContaining("--kernel newest for 6.1.0-10-amd64"),
      exitCode: 2,
    });
  });

  test("an unknown release", async () => {
    await offerTwoKernels();
    await expect(debian().fetch(asked("6.1.0-11-amd64"), context)).rejects.toMatchObject({
      code: "KERNEL_NOT_OFFERED",
      exitCode: 2,
    });
  });

  test("a release without its architecture is named whole, and one that is not there is refused", async () => {
    await offerTwoKernels();
    for (const name of ["6.1.0-9", "6.1.0-9-amd64"])
      expect(await debian().releaseNamed(name, context)).toBe("6.1.0-9-amd64");
    for (const name of ["6.1.0-11", "6.1.0", "6.1.0-9-amd", "6.1.0-9-cloud"]) {
      await expect(debian().releaseNamed(name, context)).rejects.toMatchObject({ code: "KERNEL_NOT_OFFERED" });
    }
  });

  test("flavours and backports go the same way", async () => {
    await archive.offerKernel("6.1.0-9-cloud-amd64", "6.1.27-1", false);
    await archive.offerKernel("6.1.0-9-rt-amd64", "6.1.27-1");
    await archive.offerKernel("6.12.9+deb12-amd64", "6.12.9-1~deb12u1");
    await archive.offer({ name: "linux-image-6.12-amd64", version: "6.12.9-1~deb12u1" });
    await archive.offer({ name: "linux-image-6.1.0-9-amd64-dbg", version: "6.1.27-1" });
    const kernels = await debian().kernels(context);
    expect(kernels.map(({ release }) => release)).toEqual([
      "6.1.0-9-cloud-amd64",
      "6.1.0-9-rt-amd64",
      "6.12.9+deb12-amd64",
    ]);
    const cloud = await debian().fetch(asked("6.1.0-9-cloud-amd64"), context);
    expect(await readFile(await sourceOf(cloud), "utf8")).toBe("source of 6.1.27-1");
    const backport = await debian().fetch(asked("6.12.9+deb12-amd64"), context);
    expect(await readFile(await sourceOf(backport), "utf8")).toBe("source of 6.12.9-1~deb12u1");
    // Without the meta package the newest plain kernel counts.
    expect(await debian().newest(context)).toBe("6.12.9+deb12-amd64");
  });

  test("source of another version only is an error that names both", async () => {
    await archive.offerKernel("6.1.0-9-amd64", "6.1.27-1", false);
    await archive.offerKernel("6.1.0-10-amd64", "6.1.38-4");
    const files = await debian().fetch(asked("6.1.0-9-amd64"), context);
    await expect(files.source()).rejects.toMatchObject({
      code: "SOURCE_NOT_OFFERED",
      message: expect.stringContaining("linux-source-6.1 in version 6.1.27-1"),
      why: expect.stringContaining("6.1.38-4"),
      hint: expect.stringContaining("6.1.0-10-amd64"),
      exitCode: 5,
    });
    expect((await debian().kernels(context)).map(({ hasSource }) => hasSource)).toEqual([false, true]);
  });

  test("of two versions of a release, the one that runs", async () => {
    await archive.offerKernel("6.1.0-9-amd64", "6.1.27-1");
    await archive.offerKernel("6.1.0-9-amd64", "6.1.27-2");
    const running = (version: string): KernelRequest => ({
      kind: "running",
      release: "6.1.0-9-amd64",
      banner: `#1 SMP PREEMPT_DYNAMIC Debian ${version} (2023-05-08)`,
    });
    expect((await debian().fetch(running("6.1.27-1"), context)).packageVersion).toBe("6.1.27-1");
    expect((await debian().fetch(running("6.1.27-2"), context)).packageVersion).toBe("6.1.27-2");
    expect((await debian().fetch(asked("6.1.0-9-amd64"), context)).packageVersion).toBe("6.1.27-2");
    await expect(debian().fetch(running("6.1.25-1"), context)).rejects.toMatchObject({
      code: "RUNNING_VERSION_NOT_OFFERED",
      why: "there are 6.1.27-2, 6.1.27-1",
    });
  });
});

describe("installed files", () => {
  const release = "6.1.0-9-amd64";
  async function installFiles(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const file = join(root, "machine", path);
      await mkdir(join(file, ".."), { recursive: true });
      await writeFile(file, `installed ${path}`);
    }
  }
  const imageFiles = [`boot/vmlinuz-${release}`, `boot/config-${release}`, `lib/modules/${release}/modules.order`];
  const headers = `usr/src/linux-headers-${release}/Module.symvers`;

  test("are used when their package has the version of the image", async () => {
    await archive.offerKernel(release, "6.1.27-1");
    await archive.install(
      `linux-image-${release} 6.1.27-1`,
      `linux-headers-${release} 6.1.27-1`,
      "linux-source-6.1 6.1.27-1",
    );
    await installFiles([...imageFiles, headers, "usr/src/linux-source-6.1.tar.xz"]);
    const files = await debian().fetch(asked(release), context);
    expect(files.imagePath).toBe(join(root, "machine/boot/vmlinuz-6.1.0-9-amd64"));
    expect(files.symversPath).toBe(join(root, "machine", headers));
    expect(await sourceOf(files)).toBe(join(root, "machine/usr/src/linux-source-6.1.tar.xz"));
    expect(await archive.commands()).toEqual([]);
  });

  test("headers and source of another version are downloaded in the right one", async () => {
    await archive.offerKernel(release, "6.1.27-1");
    await archive.offerKernel(release, "6.1.27-2");
    await archive.install(
      `linux-image-${release} 6.1.27-1`,
      `linux-headers-${release} 6.1.27-2`,
      "linux-source-6.1 6.1.27-2",
    );
    await installFiles([...imageFiles, headers, "usr/src/linux-source-6.1.tar.xz"]);
    const files = await debian().fetch(asked(release), context);
    expect(files.packageVersion).toBe("6.1.27-1");
    expect(files.imagePath).toBe(join(root, "machine/boot/vmlinuz-6.1.0-9-amd64"));
    expect(await readFile(files.symversPath, "utf8")).toBe("symvers of 6.1.27-1");
    expect(await readFile(await sourceOf(files), "utf8")).toBe("source of 6.1.27-1");
  });

  test("an image that is installed but was deleted is downloaded", async () => {
    await archive.offerKernel(release, "6.1.27-1");
    await archive.install(`linux-image-${release} 6.1.27-1`);
    const files = await debian().fetch(asked(release), context);
    expect(files.imagePath.startsWith(context.cache)).toBe(true);
  });
});

describe("empty package lists", () => {
  test("root updates them", async () => {
    await offerTwoKernels();
    await archive.forget();
    expect(await debian().newest(context)).toBe("6.1.0-10-amd64");
    expect(await archive.commands()).toEqual(["update"]);
  });

  test("others are told to", async () => {
    vi.mocked(process.getuid as () => number).mockReturnValue(1000);
    await expect(debian().newest(context)).rejects.toMatchObject({
      code: "LISTS_EMPTY",
      hint: "run: sudo apt-get update",
      exitCode: 5,
    });
  });
});
