import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { chooseDistribution } from "../../src/kernel/sources/distribution/choose.ts";
import type { DistributionContext, KernelRequest } from "../../src/kernel/sources/distribution/distribution.ts";
import { Ubuntu } from "../../src/kernel/sources/distribution/ubuntu.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { expectInterruptibleWait } from "../support/held-lock.ts";
import { FakeArchive } from "./fake-archive.ts";
import { offerUbuntuKernel, type UbuntuKernel } from "./ubuntu-kernels.ts";

let root: string;
let archive: FakeArchive;
let context: DistributionContext;
const path = process.env["PATH"];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "kmend-ubuntu-"));
  archive = await FakeArchive.create(join(root, "archive"));
  context = { cache: join(root, "cache"), progress: new SilentProgress() };
  vi.spyOn(process, "getuid").mockReturnValue(0);
});
afterEach(() => {
  process.env["PATH"] = path;
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const ubuntu = (): Ubuntu => new Ubuntu({ root: join(root, "machine") }, "amd64");
const asked = (release: string): KernelRequest => ({ kind: "release", release });

const offer = (kernel: UbuntuKernel): Promise<void> => offerUbuntuKernel(archive, kernel);

const jammy: UbuntuKernel = { release: "5.15.0-91-generic", version: "5.15.0-91.101" };

describe("a kernel of Ubuntu", () => {
  test("is put together from its packages", async () => {
    await offer(jammy);
    const files = await ubuntu().fetch(asked(jammy.release), context);
    expect(files).toMatchObject({ release: jammy.release, packageVersion: jammy.version });
    const read = (file: string): string => readFileSync(file, "utf8");
    expect(read(files.imagePath)).toBe("image of 5.15.0-91.101");
    expect(read(files.configPath)).toBe("config of 5.15.0-91.101");
    expect(read(files.symversPath)).toBe("symvers of 5.15.0-91.101");
    expect(read(join(files.modulesDir as string, "kernel/fs/fuse/fuse.ko.zst"))).toBe("fuse");
    expect(read(join(files.modulesDir as string, "kernel/drivers/block/zram/zram.ko.zst"))).toBe("zram");
    expect(read((await files.source()).path)).toBe("source of 5.15.0-91.101");
    const parts = ["image", "modules", "modules-extra", "headers"].map(
      (part) => `linux-${part}-${jammy.release}=${jammy.version}`,
    );
    expect(await archive.commands()).toEqual([
      `download ${parts.join(" ")}`,
      "download linux-source-5.15.0=5.15.0-91.101",
    ]);
    const again = await ubuntu().fetch(asked(jammy.release), context);
    expect(again.modulesDir).toBe(files.modulesDir);
    expect(await archive.commands()).toHaveLength(2);
  });

  test("whose image is unsigned, and which has no further modules", async () => {
    await offer({
      release: "5.15.0-1051-kvm",
      version: "5.15.0-1051.56",
      source: "linux-kvm",
      image: ["unsigned"],
      extra: false,
    });
    const files = await ubuntu().fetch(asked("5.15.0-1051-kvm"), context);
    expect(readFileSync(files.imagePath, "utf8")).toBe("image of 5.15.0-1051.56");
    expect(readdirSync(files.modulesDir as string)).toEqual(["kernel", "modules.order"]);
    expect(await archive.commands()).toEqual([
      "download linux-image-unsigned-5.15.0-1051-kvm=5.15.0-1051.56 linux-modules-5.15.0-1051-kvm=5.15.0-1051.56 linux-headers-5.15.0-1051-kvm=5.15.0-1051.56",
    ]);
    expect(readFileSync((await files.source()).path, "utf8")).toBe("source of 5.15.0-1051.56");
  });

  test("of a later series takes the source of its own source package", async () => {
    await offer({ release: "6.5.0-14-generic", version: "6.5.0-14.14~22.04.1", source: "linux-hwe-6.5" });
    const files = await ubuntu().fetch(asked("6.5.0-14-generic"), context);
    await files.source();
    expect((await archive.commands()).at(-1)).toBe("download linux-hwe-6.5-source-6.5.0=6.5.0-14.14~22.04.1");
  });

  test("whose source is in the source package only", async () => {
    const version = "5.15.0-1051.56";
    const aws = { release: "5.15.0-1051-aws", version, source: "linux-aws", sourcePackage: false };
    await offer(aws);
    const missing = await ubuntu().fetch(asked(aws.release), context);
    await expect(missing.source()).rejects.toMatchObject({
      code: "SOURCE_NOT_OFFERED",
      message: expect.stringContaining("linux-aws-source-5.15.0 in version 5.15.0-1051.56"),
      hint: expect.stringContaining("deb-src"),
      exitCode: 5,
    });
    sourcePackage("linux-aws", version);
    const files = await ubuntu().fetch(asked(aws.release), context);
    const { path: made } = await files.source();
    const listed = execFileSync("tar", ["-tf", made], { encoding: "utf8" }).split("\n");
    expect(listed).toContain("linux/Makefile");
    expect((await archive.commands()).at(-1)).toBe("source --download-only linux-aws=5.15.0-1051.56");
    expect(await (await ubuntu().fetch(asked(aws.release), context)).source()).toMatchObject({ path: made });
    expect(readdirSync(join(context.cache, "packages")).filter((name) => /tmp|lock/.test(name))).toEqual([]);
  });

  test("whose source package another process unpacks: the wait ends with an interrupt", async () => {
    const version = "5.15.0-1051.56";
    const aws = { release: "5.15.0-1051-aws", version, source: "linux-aws", sourcePackage: false };
    await offer(aws);
    const lock = join(root, `cache/packages/source-linux-aws_${version}.tar.zst.lock`);
    await expectInterruptibleWait(lock, async (progress, signal) => {
      const files = await ubuntu().fetch(asked(aws.release), { ...context, progress, signal });
      return files.source();
    });
  });
});

/** Puts a source package where apt-get of the fake archive finds it. */
function sourcePackage(name: string, version: string): void {
  const folder = join(root, "build");
  const tree = join(folder, name);
  mkdirSync(join(tree, "debian/source"), { recursive: true });
  writeFileSync(join(tree, "Makefile"), "VERSION = 5\n");
  writeFileSync(join(tree, "debian/source/format"), "1.0\n");
  const control = [
    "Source: x",
    "Maintainer: x <x@example.org>",
    "Standards-Version: 4.6.0",
    "",
    "Package: x",
    "Architecture: any",
    "Description: x",
  ];
  writeFileSync(join(tree, "debian/control"), `${control.join("\n")}\n`.replaceAll(": x\n", `: ${name}\n`));
  const entry = `${name} (${version}) jammy; urgency=low\n\n  * x\n\n -- x <x@example.org>  Thu, 01 Jan 2024 00:00:00 +0000\n`;
  writeFileSync(join(tree, "debian/changelog"), entry);
  execFileSync("dpkg-source", ["-b", name], { cwd: folder, stdio: "pipe" });
  mkdirSync(join(root, "archive/sources"));
  for (const file of readdirSync(folder).filter((one) => one !== name))
    writeFileSync(join(root, "archive/sources", file), readFileSync(join(folder, file)));
}

describe("choosing", () => {
  test("the running kernel by its upload number", async () => {
    await offer(jammy);
    await offer({ ...jammy, version: "5.15.0-91.102" });
    const running = (upload: string): KernelRequest => ({
      kind: "running",
      release: jammy.release,
      banner: `#${upload}-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023`,
    });
    expect((await ubuntu().fetch(running("101"), context)).packageVersion).toBe("5.15.0-91.101");
    expect((await ubuntu().fetch(running("102"), context)).packageVersion).toBe("5.15.0-91.102");
    await expect(ubuntu().fetch(running("100"), context)).rejects.toMatchObject({
      code: "RUNNING_VERSION_NOT_OFFERED",
    });
    const image = (release: string, version: string) => ubuntu().packageVersionIn({ release, version });
    expect(image("6.5.0-14-generic", "#14~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC Mon Nov 20")).toBe("6.5.0-14.14~22.04.1");
    expect(image("6.1.0-9-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.9-1 (2024-01-31)")).toBeUndefined();
  });

  test("the newest, by the meta package, else among the generic ones", async () => {
    await offer(jammy);
    await offer({ release: "5.15.0-92-generic", version: "5.15.0-92.102" });
    await offer({ release: "5.15.0-1051-aws", version: "5.15.0-1051.56", source: "linux-aws" });
    expect(await ubuntu().newest(context)).toBe("5.15.0-92-generic");
    const fields = { Depends: "linux-image-5.15.0-91-generic, linux-modules-extra-5.15.0-91-generic" };
    await archive.offer({ name: "linux-image-generic", version: "5.15.0.91.88", fields });
    rmSync(join(context.cache, "catalog"), { recursive: true });
    expect(await ubuntu().newest(context)).toBe("5.15.0-91-generic");
    const kernels = await ubuntu().kernels(context);
    expect(kernels.map(({ release, hasSource }) => [release, hasSource])).toEqual([
      ["5.15.0-91-generic", true],
      ["5.15.0-92-generic", true],
      ["5.15.0-1051-aws", true],
    ]);
  });

  test("the distribution by what the machine says it is, or the user", async () => {
    const machine = join(root, "machine/etc");
    mkdirSync(machine, { recursive: true });
    const like = async (text: string, name?: string): Promise<string> => {
      writeFileSync(join(machine, "os-release"), text);
      return (await chooseDistribution({ distribution: name }, join(root, "machine"))).name;
    };
    expect(await like('PRETTY_NAME="Ubuntu 22.04.3 LTS"\nID=ubuntu\nID_LIKE=debian\n')).toBe("ubuntu");
    expect(await like('ID=linuxmint\nID_LIKE="ubuntu debian"\n')).toBe("ubuntu");
    expect(await like("ID=debian\n")).toBe("debian");
    expect(await like("ID=debian\n", "ubuntu")).toBe("ubuntu");
    await expect(like("ID=debian\n", "slackware")).rejects.toMatchObject({ code: "USAGE", exitCode: 2 });
    await expect(like('ID="rocky"\nID_LIKE="rhel centos fedora"\n')).rejects.toMatchObject({
      code: "DISTRIBUTION_UNKNOWN",
      hint: expect.stringContaining("--sourcerpm"),
    });
  });
});
