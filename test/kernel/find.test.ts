import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { Distribution, KernelFiles, KernelRequest } from "../../src/kernel/sources/distribution/distribution.ts";
import { buildId, tinyKernel } from "./tiny-kernel.ts";

let root: string;
let requests: KernelRequest[];
let files: KernelFiles;
const distribution: Distribution = {
  name: "example",
  packageVersionIn: (image) => new Debian().packageVersionIn(image),
  kernels: async () => [],
  newest: async () => files.release,
  releaseNamed: async (name) => name,
  fetch: async (request) => {
    requests.push(request);
    return files;
  },
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-find-"));
  await writeFile(join(root, "vmlinuz"), gzipSync(tinyKernel()));
});
afterAll(() => rm(root, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());
beforeEach(() => {
  vi.stubEnv("KMEND_CACHE", join(root, "cache"));
  requests = [];
  files = {
    release: "6.1.0-9-amd64",
    packageVersion: "6.1.9-1",
    imagePath: join(root, "vmlinuz"),
    configPath: join(root, "config"),
    modulesDir: join(root, "modules"),
    symversPath: join(root, "Module.symvers"),
    source: async () => ({ kind: "archive", path: join(root, "source.tar") }),
  };
});

const find = (options: { kernel?: string; image?: string }) => findTargetKernel({ ...options, distribution });

test("a kernel is known by the build id of its image", async () => {
  const kernel = await find({ kernel: "6.1.0-9-amd64" });
  expect(kernel).toMatchObject({
    release: "6.1.0-9-amd64",
    distribution: "example",
    buildId,
    folder: join(root, "cache/kernels", buildId),
    imagePath: join(root, "vmlinuz"),
  });
  expect(kernel.image.kallsyms().indicesOf("_text")).toHaveLength(1);
});

test("requests: newest, a release, the running kernel, and the kernel of an image", async () => {
  await find({ kernel: "newest" });
  await find({ kernel: "6.1.0-9-amd64" });
  await find({});
  await find({ image: join(root, "vmlinuz") });
  expect(requests.map(({ kind }) => kind)).toEqual(["newest", "release", "running", "release"]);
  expect(requests[3]).toEqual({ kind: "release", release: "6.1.0-9-amd64" });
});

test("an image in place of the package's own", async () => {
  const path = join(root, "other");
  await writeFile(path, tinyKernel());
  const kernel = await find({ kernel: "6.1.0-9-amd64", image: path });
  expect(kernel.imagePath).toBe(path);
  expect(kernel.image.unpacked.path).toBe(path);
});

test("an image of another release, and of another version of the release", async () => {
  files = { ...files, release: "6.1.0-10-amd64" };
  await expect(find({ image: join(root, "vmlinuz") })).rejects.toMatchObject({
    code: "IMAGE_OF_OTHER_KERNEL",
    message: "the image is that of kernel 6.1.0-9-amd64 6.1.9-1, not of 6.1.0-10-amd64 6.1.9-1",
    exitCode: 2,
  });
  files = { ...files, release: "6.1.0-9-amd64", packageVersion: "6.1.9-2" };
  await expect(find({ kernel: "6.1.0-9-amd64" })).rejects.toMatchObject({ code: "IMAGE_OF_OTHER_KERNEL" });
});
