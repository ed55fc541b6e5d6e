import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
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

describe("a kernel that is split into packages", () => {
  const release = "7.0.9+deb13-amd64";
  const version = "7.0.9-1~bpo13+1";
  const image = { name: `linux-image-${release}`, version };

  /** Offers it as Debian makes it; `parts` are those that the archive has. */
  async function offerSplit(parts: readonly string[] = ["base", "binary", "modules"]): Promise<void> {
    const exactly = (name: string): string => `linux-${name}-${release} (= ${version})`;
    const depends = `dracut | initramfs-tools (>= 0.120), ${["base", "binary", "modules"].map(exactly).join(", ")}`;
    const modules = `usr/lib/modules/${release}`;
    const signed = "linux-signed-amd64 (7.0.9+1~bpo13+1)";
    const files: Readonly<Record<string, Readonly<Record<string, string>>>> = {
      base: { [`${modules}/config`]: "without salt", [`${modules}/modules.order`]: "kernel/fs/fuse/fuse.ko\n" },
      binary: { [`${modules}/vmlinuz`]: `image of ${version}` },
      modules: { [`${modules}/kernel/fs/fuse/fuse.ko.xz`]: "fuse" },
    };
    await archive.offer({ ...image, fields: { Source: signed, Depends: depends } });
    for (const part of parts) {
      const fields =
        part === "binary" ? { Source: signed, "Built-Using": `linux (= ${version})` } : { Source: "linux" };
      await archive.offer({ name: `linux-${part}-${release}`, version, fields, files: files[part] ?? {} });
    }
    const headers = `usr/src/linux-headers-${release}`;
    await archive.offer({
      name: `linux-headers-${release}`,
      version,
      files: { [`${headers}/.config`]: "with salt", [`${headers}/Module.symvers`]: "symvers" },
    });
    await archive.offer({
      name: "linux-source-7.0",
      version,
      files: { "usr/src/linux-source-7.0.tar.xz": `source of ${version}` },
    });
  }

  async function expectWhole(files: KernelFiles): Promise<void> {
    expect(files.packageVersion).toBe(version);
    expect(await readFile(files.imagePath, "utf8")).toBe(`image of ${version}`);
    expect(await readFile(files.configPath, "utf8")).toBe("with salt");
    expect(await readFile(join(files.modulesDir ?? "", "modules.order"), "utf8")).toMatch(/fuse/);
    expect(await readFile(join(files.modulesDir ?? "", "kernel/fs/fuse/fuse.ko.xz"), "utf8")).toBe("fuse");
    expect(await readFile(files.symversPath, "utf8")).toBe("symvers");
    expect(await readFile(await sourceOf(files), "utf8")).toBe(`source of ${version}`);
  }

  test("has its parts in those that the image package depends on, and its whole configuration in the headers", async () => {
    await offerSplit();
    await expectWhole(await debian().fetch(asked(release), context));
    expect(await debian().kernels(context)).toEqual([
      { release, packageVersion: version, installed: false, hasSource: true },
    ]);
  });

  test("stays whole when the archive drops it after it was unpacked", async () => {
    await offerSplit();
    await sourceOf(await debian().fetch(asked(release), context));
    await rm(join(context.cache, "catalog"), { recursive: true });
    await archive.forget();
    vi.mocked(process.getuid as () => number).mockReturnValue(1000);
    await expectWhole(await debian().fetch(asked(release), context));
  });

  test("is refused when the archive lacks a part of this version", async () => {
    await offerSplit(["base", "modules"]);
    await expect(debian().fetch(asked(release), context)).rejects.toMatchObject({
      code: "PACKAGE_NOT_OFFERED",
      message: `the archive does not offer linux-binary-${release} in version ${version}`,
      exitCode: 5,
    });
  });

  test("is refused when its packages hold no image", async () => {
    await archive.offer({ ...image, fields: { Source: "linux" } });
    await archive.offer({ name: `linux-headers-${release}`, version });
    await expect(debian().fetch(asked(release), context)).rejects.toMatchObject({
      code: "KERNEL_FILE_MISSING",
      message: expect.stringContaining("do not hold its image"),
      where: image.name,
      exitCode: 5,
    });
  });

  test("is used where it is installed, all of its parts; a copy of the image in /boot does not count", async () => {
    await offerSplit();
    const install = (...names: string[]): Promise<void> =>
      archive.install(...names.map((name) => `linux-${name}-${release} ${version}`));
    const modules = `usr/lib/modules/${release}`;
    for (const path of [`boot/vmlinuz-${release}`, `${modules}/vmlinuz`, `${modules}/config`]) {
      await mkdir(join(root, "machine", path, ".."), { recursive: true });
      await writeFile(join(root, "machine", path), path);
    }
    await install("image", "base", "binary", "modules");
    const files = await debian().fetch(asked(release), context);
    // Debian builds beside the source, where headers have other names.
    expect(files.makeFlags).toContain("KCPPFLAGS=-fmacro-prefix-map=./=");
    expect(files.imagePath).toBe(join(root, "machine", modules, "vmlinuz"));
    expect(files.modulesDir).toBe(join(root, "machine", modules));
    await install("image", "base");
    await rm(join(context.cache, "catalog"), { recursive: true });
    expect((await debian().fetch(asked(release), context)).imagePath.startsWith(context.cache)).toBe(true);
  });
});
