import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { chooseKernelPackages } from "../../src/kernel/sources/rpm/dnf.ts";
import type { RpmRequest } from "../../src/kernel/sources/rpm/rpm-kernels.ts";
import { distributionMacros } from "../../src/kernel/sources/rpm/spec-macros.ts";
import { findProgram } from "../../src/support/find-program.ts";
import { prepOfTree, type SmallRpms, smallRpms } from "./small-rpms.ts";
import { buildId, tinyKernel } from "./tiny-kernel.ts";

const release = "6.1.0-9-amd64";
const at = `/lib/modules/${release}`;
const devel = `/usr/src/kernels/${release}`;
const core = { [`${at}/vmlinuz`]: gzipSync(tinyKernel()), [`${at}/config`]: "CONFIG_X86_64=y\n" };
const modules = {
  [`${at}/modules.order`]: "kernel/fs/fuse/fuse.ko\n",
  [`${at}/kernel/fs/fuse/fuse.ko`]: "a module",
};
const headers = { [`${devel}/Module.symvers`]: "0x1\tx\tvmlinux\tEXPORT_SYMBOL\t\n", [`${devel}/Makefile`]: "all:\n" };

let root: string;
let cache: string;
let rpms: SmallRpms;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-rpms-"));
  rpms = smallRpms(root, { packages: { core, modules, devel: headers } });
});
afterEach(() => vi.unstubAllEnvs());
beforeEach(() => {
  cache = mkdtempSync(join(root, "cache-"));
  vi.stubEnv("KMEND_CACHE", cache);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const find = (request: RpmRequest, kernel?: string) => findTargetKernel({ kernel, rpms: request });
const packages = (made: SmallRpms, ...parts: readonly string[]): string[] =>
  parts.map((part) => made.packages[part] as string);
const everything = (made = rpms): RpmRequest => ({
  sourceRpm: made.source,
  kernelRpms: packages(made, "core", "modules", "devel"),
});

/** Finds the kernel of the usual packages with another %prep, and asks for its source. */
async function sourceOf(prep: string, more: Parameters<typeof smallRpms>[1] = {}): Promise<string[]> {
  const made = smallRpms(root, { packages: { core, modules, devel: headers }, prep, ...more });
  const source = await (await find(everything(made))).source();
  return execFileSync("tar", ["-tf", source.path], { encoding: "utf8" }).trim().split("\n").sort();
}

describe("a kernel of RPMs", () => {
  test("has the files of its packages, and of the headers only what is needed", async () => {
    const kernel = await find(everything());
    expect(kernel).toMatchObject({ release, distribution: "rpm", packageVersion: "6.1.0-9.fc40", buildId });
    expect(readFileSync(kernel.configPath, "utf8")).toBe("CONFIG_X86_64=y\n");
    expect(readFileSync(kernel.symversPath, "utf8")).toContain("EXPORT_SYMBOL");
    expect(readFileSync(join(kernel.modulesDir as string, "kernel/fs/fuse/fuse.ko"), "utf8")).toBe("a module");
    const unpacked = readdirSync(join(kernel.symversPath, ".."), { recursive: true });
    expect(unpacked.filter((name) => name.toString().endsWith("Makefile"))).toEqual([]);
    // The same image may be built for with the source of an archive, too.
    expect(kernel.folder).not.toBe(join(cache, "kernels", buildId));
  });

  test("in the layout of older distributions, with packed Module.symvers", async () => {
    const old = {
      [`/boot/vmlinuz-${release}`]: gzipSync(tinyKernel()),
      [`/boot/config-${release}`]: "CONFIG_X86_64=y\n",
      [`/boot/symvers-${release}.gz`]: gzipSync("symvers"),
      [`/usr/lib/modules/${release}/modules.order`]: "kernel/fs/fuse/fuse.ko\n",
    };
    const made = smallRpms(root, { packages: { "": old } });
    const kernel = await find({ sourceRpm: made.source, kernelRpms: packages(made, "") });
    expect(readFileSync(kernel.symversPath, "utf8")).toBe("symvers");
    expect(readdirSync(kernel.modulesDir as string)).toEqual(["modules.order"]);
  });

  test("without its source there is a kernel to try modules with", async () => {
    const kernel = await find({ kernelRpms: packages(rpms, "core", "devel") });
    expect(kernel.modulesDir).toBeUndefined();
    await expect(kernel.source()).rejects.toMatchObject({
      code: "SOURCE_RPM_MISSING",
      hint: "give kernel-6.1.0-9.fc40.src.rpm with --sourcerpm FILE",
    });
  });
});

describe("packages that do not do", () => {
  test.each([
    [["modules", "devel"], "no kernel image is in the RPMs that were given", "kernel-core"],
    [["core", "modules"], "no Module.symvers is in the RPMs that were given", "kernel-devel"],
  ])("only %j", async (parts, message, holder) => {
    const error = await find({ sourceRpm: rpms.source, kernelRpms: packages(rpms, ...parts) }).catch(
      (thrown) => thrown,
    );
    expect(error).toMatchObject({ code: "KERNEL_RPM_MISSING", message, exitCode: 2 });
    expect(error.why).toContain(holder);
    expect(error.hint).toContain("--kernel-rpm FILE");
  });

  test("of another build than the source RPM", async () => {
    const other = smallRpms(root, { release: "10%{?dist}", packages: { core } });
    const request = { sourceRpm: rpms.source, kernelRpms: [...packages(other, "core"), ...packages(rpms, "devel")] };
    await expect(find(request)).rejects.toMatchObject({
      code: "RPM_OF_OTHER_KERNEL",
      message: "kernel-core-6.1.0-10.fc40.x86_64.rpm was not built from kernel-6.1.0-9.fc40.src.rpm",
      exitCode: 2,
    });
    await expect(find({ kernelRpms: request.kernelRpms })).rejects.toMatchObject({ code: "RPM_OF_OTHER_KERNEL" });
  });

  test("of the wrong kind", async () => {
    await expect(find({ sourceRpm: rpms.packages["core"] })).rejects.toMatchObject({ code: "RPM_WRONG_KIND" });
    await expect(find({ kernelRpms: [rpms.source] })).rejects.toMatchObject({ code: "RPM_WRONG_KIND" });
  });

  test("of another release than the one that is asked for", async () => {
    await expect(find(everything(), "6.1.0-10-amd64")).rejects.toMatchObject({
      code: "KERNEL_NOT_IN_RPMS",
      why: `they hold ${release}`,
    });
  });

  test("of two flavours, until one is chosen", async () => {
    const other = { "/lib/modules/6.1.0-9-amd64+debug/vmlinuz": "", "/lib/modules/6.1.0-9-amd64+debug/config": "" };
    const made = smallRpms(root, { packages: { core, "debug-core": other, devel: headers } });
    const request = { kernelRpms: packages(made, "core", "debug-core", "devel") };
    await expect(find(request)).rejects.toMatchObject({
      code: "KERNEL_RPM_AMBIGUOUS",
      why: `they hold ${release}, ${release}+debug`,
      exitCode: 2,
    });
    expect((await find(request, release)).release).toBe(release);
  });

  test("an image of another release than its path says", async () => {
    const named = `/lib/modules/6.1.0-8-amd64`;
    const files = { [`${named}/vmlinuz`]: gzipSync(tinyKernel()), [`${named}/config`]: "", [`${named}/symvers`]: "" };
    const made = smallRpms(root, { packages: { core: files } });
    await expect(find({ kernelRpms: packages(made, "core") })).rejects.toMatchObject({ code: "IMAGE_OF_OTHER_KERNEL" });
  });

  test("files that are no RPMs", async () => {
    const text = join(root, "text.src.rpm");
    writeFileSync(text, "not a package\n");
    const list = join(root, "list.rpm");
    writeFileSync(list, `${rpms.source}\n`);
    const empty = join(root, "empty.rpm");
    writeFileSync(empty, "");
    const head = join(root, "head.rpm");
    writeFileSync(head, readFileSync(rpms.source).subarray(0, 500));
    for (const path of [text, list, empty, head, root]) {
      await expect(find({ sourceRpm: path })).rejects.toMatchObject({ code: "NOT_AN_RPM", where: path, exitCode: 2 });
    }
    await expect(find({ sourceRpm: join(root, "none") })).rejects.toMatchObject({ code: "RPM_MISSING", exitCode: 2 });
  });

  test("a file that was not downloaded to its end, or is damaged", async () => {
    const short = join(mkdtempSync(join(root, "short-")), basename(rpms.packages["core"] as string));
    writeFileSync(short, readFileSync(rpms.packages["core"] as string));
    truncateSync(short, statSync(short).size - 100);
    const request = { sourceRpm: rpms.source, kernelRpms: [short, ...packages(rpms, "modules", "devel")] };
    await expect(find(request)).rejects.toMatchObject({ code: "RPM_DAMAGED", where: short });
    expect(readdirSync(join(cache, "rpms")).filter((name) => name.startsWith("kernel-"))).toEqual([]);
    // The whole file has the same header, and is not taken for the damaged one.
    await find(everything());
  });
});

describe("%prep", { timeout: 300_000 }, () => {
  test("runs once for each source RPM, and leaves what version control keeps behind", async () => {
    const kernel = await find(everything());
    const first = await kernel.source();
    const before = statSync(first.path);
    const second = await (await find(everything())).source();
    expect(second.path).toBe(first.path);
    expect(statSync(second.path)).toMatchObject({ ino: before.ino, mtimeMs: before.mtimeMs });
    const left = readdirSync(join(cache, "rpms")).filter((name) => /lock|tmp|log/.test(name));
    expect(left).toEqual([]);
    expect(await sourceOf(`${prepOfTree("6.1.0")}\nmkdir linux/.git\ntouch linux/.git/HEAD`)).toEqual([
      "linux/",
      "linux/Kbuild",
      "linux/Makefile",
      "linux/kernel/",
      "linux/scripts/",
    ]);
  });

  test("sees the release and the distribution that the RPM was built on, bash, and nothing of the user's", async () => {
    const home = mkdtempSync(join(root, "home-"));
    writeFileSync(join(home, ".rpmmacros"), "%dist .other\n%rhel 7\n");
    const before = process.env["HOME"];
    process.env["HOME"] = home;
    try {
      const names = await sourceOf(
        `${prepOfTree("6.1.0")}\n[[ -n $BASH_VERSION ]]\ntouch linux/%{release}-%{?rhel}-%{?fedora}-%{_target_cpu}\ncp %{SOURCE0} linux/kernel`,
        { release: "427.1%{?dist}", dist: ".el9_4", sources: { "extra.c": "int x;\n" } },
      );
      expect(names).toContain("linux/427.1.el9_4-9--x86_64");
      expect(names).toContain("linux/kernel/extra.c");
      expect(readdirSync(home)).toEqual([".rpmmacros"]);
    } finally {
      process.env["HOME"] = before;
    }
  });

  test.each([
    ["echo unpacking\nno-such-program --now", /unpacking[\s\S]*no-such-program/, /^install no-such-program, which/],
    ["%no_such_macro foo", /\bfg: |%no_such_macro: not found/, /RPM macros/],
    ["echo it is broken\nexit 3", /it is broken/, /--source DIR/],
  ])("that fails is told with its last lines: %j", async (prep, why, hint) => {
    await expect(sourceOf(prep)).rejects.toMatchObject({
      code: "SOURCE_RPM_NOT_PREPARED",
      why: expect.stringMatching(why),
      hint: expect.stringMatching(hint),
      exitCode: 5,
    });
    const log = readdirSync(join(cache, "rpms")).find((name) => name.endsWith("-prep.log")) as string;
    expect(readFileSync(join(cache, "rpms", log), "utf8")).toMatch(why);
    expect(readdirSync(join(cache, "rpms")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("of something else, of another version, of more than one kernel", async () => {
    await expect(sourceOf("mkdir hello\ntouch hello/Makefile")).rejects.toMatchObject({
      code: "SOURCE_RPM_WITHOUT_KERNEL",
      why: "it left hello",
    });
    await expect(sourceOf(prepOfTree("6.12.3"))).rejects.toMatchObject({ code: "SOURCE_OF_OTHER_VERSION" });
    await expect(sourceOf(`${prepOfTree("6.1.0", "a")}\n${prepOfTree("6.1.0", "b")}`)).rejects.toMatchObject({
      code: "SOURCE_RPM_WITHOUT_KERNEL",
      why: expect.stringContaining("a, b"),
    });
    const both = `${prepOfTree("6.1.0", "k/vanilla-6.1")}\n${prepOfTree("6.1.0", "k/linux-6.1.0-9.fc40.x86_64")}`;
    expect((await sourceOf(both))[0]).toBe("linux-6.1.0-9.fc40.x86_64/");
  });
});

test("the release of an RPM tells what dist was", async () => {
  const macrosOf = (given: string, spec: string) =>
    distributionMacros({ release: given }, async ({ dist = "" }) => spec.replace("D", dist));
  expect(await macrosOf("427.13.1.el9_4", "427.13.1D")).toEqual({ dist: ".el9_4", rhel: "9", el9: "1" });
  expect(await macrosOf("300.fc40", "300D")).toEqual({ dist: ".fc40", fedora: "40", fc40: "1" });
  expect(await macrosOf("1.fc40.2", "1D.2")).toEqual({ dist: ".fc40", fedora: "40", fc40: "1" });
  expect(await macrosOf("1.azl3", "1D")).toEqual({ dist: ".azl3" });
  expect(await macrosOf("7", "7")).toEqual({});
  // A spec that cannot be evaluated alone.
  expect(await macrosOf("99.amzn2", "")).toEqual({ dist: ".amzn2", amzn: "2" });
});

test("the packages of a flavour", () => {
  const names = (source: string, flavour: string, ...offered: string[]) =>
    chooseKernelPackages(
      source,
      flavour,
      offered.map((name) => ({ name })),
    ).map(({ name }) => name);
  const all = [
    "",
    "-core",
    "-modules",
    "-modules-core",
    "-devel",
    "-headers",
    "-debug-core",
    "-debug-devel",
    "-rt-core",
    "-tools",
  ];
  const fedora = all.map((part) => `kernel${part}`);
  expect(names("kernel", "", ...fedora)).toEqual([
    "kernel-core",
    "kernel-modules",
    "kernel-modules-core",
    "kernel-devel",
  ]);
  expect(names("kernel", "debug", ...fedora)).toEqual(["kernel-debug-core", "kernel-debug-devel"]);
  expect(names("kernel-ml", "", "kernel-ml", "kernel-ml-devel", "kernel-ml-doc")).toEqual([
    "kernel-ml",
    "kernel-ml-devel",
  ]);
});

describe("dnf", () => {
  let configuration: string;
  beforeAll(() => {
    const repository = join(root, "repository");
    mkdirSync(repository);
    for (const path of [...packages(rpms, "core", "modules", "devel")])
      symlinkSync(path, join(repository, basename(path)));
    execFileSync("createrepo_c", ["-q", repository]);
    configuration = join(root, "dnf.conf");
    const main = [
      "[main]",
      "reposdir=/nonexistent",
      `cachedir=${root}/dnf`,
      `persistdir=${root}/state`,
      `logdir=${root}`,
    ];
    writeFileSync(
      configuration,
      `${[...main, "[x]", "name=x", `baseurl=file://${repository}`, "gpgcheck=0"].join("\n")}\n`,
    );
  });

  test("finds the packages of the source RPM, and says what there is when it finds none", {
    timeout: 120_000,
  }, async () => {
    const found = await find({ sourceRpm: rpms.source, dnfConfiguration: configuration });
    expect(found).toMatchObject({ release, packageVersion: "6.1.0-9.fc40" });
    expect(readdirSync(found.modulesDir as string)).toContain("kernel");
    const other = smallRpms(root, { release: "11%{?dist}" });
    await expect(find({ sourceRpm: other.source, dnfConfiguration: configuration })).rejects.toMatchObject({
      code: "KERNEL_RPMS_NOT_OFFERED",
      why: "they offer those of kernel-6.1.0-9.fc40.src.rpm",
      exitCode: 5,
    });
    const broken = join(root, "broken.conf");
    writeFileSync(broken, readFileSync(configuration, "utf8").replace("[x]", "[y]").replace("/repository", "/nowhere"));
    await expect(find({ sourceRpm: other.source, dnfConfiguration: broken })).rejects.toMatchObject({
      code: "DNF_FAILED",
      message: "a repository of dnf cannot be reached",
    });
  });

  test("that is not installed", async () => {
    const programs = mkdtempSync(join(root, "programs-"));
    for (const name of ["rpm", "rpmkeys", "rpm2cpio", "rpmbuild", "cpio"])
      symlinkSync((await findProgram(name)) as string, join(programs, name));
    const before = process.env["PATH"];
    process.env["PATH"] = programs;
    try {
      await expect(find({ sourceRpm: rpms.source })).rejects.toMatchObject({
        code: "DNF_MISSING",
        hint: expect.stringContaining("--kernel-rpm FILE"),
        exitCode: 5,
      });
    } finally {
      process.env["PATH"] = before;
    }
  });
});
