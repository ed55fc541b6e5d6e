import { execFileSync } from "node:child_process";
import { appendFileSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
import { smallModule } from "../update/small-module.ts";
import { FreshRoot, gpgHome, providerDeb, providerRpm, runProgram } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const release = "6.1.0-1-amd64";
const signer = "live-patches@example.org";
const scratch = new Scratch();
const roots: FreshRoot[] = [];
let home: string;
let module: string;
let publicKey: string;

beforeAll(() => {
  home = gpgHome(signer);
  module = smallModule(scratch.folder(), { name: "livepatch-fix", release });
  publicKey = join(scratch.folder(), "key.asc");
  writeFileSync(publicKey, execFileSync("gpg", ["--armor", "--export", signer]));
});
afterEach(() => {
  for (const root of roots.splice(0)) root.remove();
});
afterAll(() => {
  runProgram("gpgconf", ["--kill", "all"]);
  delete process.env["GNUPGHOME"];
  rmSync(home, { recursive: true, force: true });
  scratch.remove();
});

async function packaged(format: string, version: string, ...options: string[]): Promise<string> {
  const output = scratch.folder();
  const words = ["package", "--format", format, "--set-version", version, "--output", output, ...options, module];
  const { exitCode, stderr } = await kmend(...words);
  expect(exitCode, stderr).toBe(0);
  return join(output, readdirSync(output)[0] as string);
}

async function published(
  folder: string,
  ...words: string[]
): Promise<{ packages: { file: string }[]; removed: string[] }> {
  const { exitCode, stdout, stderr } = await kmend("repo", "--json", folder, ...words);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
}

function freshRoot(running = release): FreshRoot {
  const root = new FreshRoot(running);
  roots.push(root);
  return root;
}

describe("RPMs", () => {
  /** dnf on a root of its own, with this repository and that of what every system has. */
  function dnf(root: FreshRoot, repository: string, ...words: string[]) {
    const base = join(scratch.path, "base");
    const configuration = join(root.path, "etc/dnf.conf");
    const settings = [
      "[main]",
      "reposdir=/nonexistent",
      `cachedir=${join(root.path, "tmp/cache")}`,
      `persistdir=${join(root.path, "tmp/state")}`,
      `logdir=${join(root.path, "tmp")}`,
      "plugins=0",
      "[live]",
      "name=live",
      `baseurl=file://${repository}`,
      "gpgcheck=1",
      "repo_gpgcheck=1",
      `gpgkey=file://${publicKey}`,
      "[base]",
      "name=base",
      `baseurl=file://${base}`,
      "gpgcheck=0",
    ];
    writeFileSync(configuration, `${settings.join("\n")}\n`);
    return runProgram("dnf", ["-c", configuration, "-y", "--installroot", root.path, "--releasever", "9", ...words]);
  }

  beforeAll(async () => {
    const folder = scratch.folder();
    const shell = providerRpm(folder, "base", ["/bin/sh", "dash"]);
    await published(join(scratch.path, "base"), shell);
  });

  test("dnf installs and upgrades signed packages from a signed repository, and knows what they fix", async () => {
    const repository = join(scratch.folder(), "repository");
    const about = ["--cve", "CVE-2024-12345", "--cve", "CVE-2023-1234", "--severity", "Important", "--gpg-key", signer];
    const first = await packaged("rpm", "1", ...about);
    expect(runProgram("rpm", ["-qp", "--nosignature", "--qf", "%{RSAHEADER:pgpsig}", first]).output).toContain(
      "RSA/SHA",
    );
    await published(repository, first, "--gpg-key", signer);

    const root = freshRoot();
    const installed = dnf(root, repository, "install", "kpatch-module-fix");
    expect(installed, installed.output).toMatchObject({ exitCode: 0 });
    expect(root.bytes(`var/lib/kpatch/${release}/livepatch-fix.ko`)).toEqual(readFileSync(module));
    expect(root.rpm("-q", "kpatch-module-fix").output).toContain("kpatch-module-fix-1-1.x86_64");

    await published(repository, await packaged("rpm", "2", ...about), "--gpg-key", signer);
    const listed = dnf(root, repository, "--refresh", "updateinfo", "list", "--with-cve");
    expect(listed.output).toContain("CVE-2024-12345 Important/Sec. kpatch-module-fix-2-1.x86_64");
    expect(listed.output).toContain("CVE-2023-1234");
    expect(dnf(root, repository, "upgrade", "--security")).toMatchObject({ exitCode: 0 });
    expect(root.rpm("-q", "kpatch-module-fix").output).toContain("kpatch-module-fix-2-1.x86_64");
  });

  test("an unsigned package, and an index that somebody changed, are refused by dnf", async () => {
    const repository = join(scratch.folder(), "repository");
    await published(repository, await packaged("rpm", "1"), "--gpg-key", signer);
    const unsigned = dnf(freshRoot(), repository, "install", "kpatch-module-fix");
    expect(unsigned.exitCode).not.toBe(0);
    expect(unsigned.output).toContain("is not signed");
    appendFileSync(join(repository, "repodata/repomd.xml"), "<!-- -->");
    expect(dnf(freshRoot(), repository, "makecache").exitCode).not.toBe(0);
  });

  test("the files of an index stay until the one after the next, and only the newest versions are kept", async () => {
    const repository = join(scratch.folder(), "repository");
    const index = () => readdirSync(join(repository, "repodata"));
    await published(repository, await packaged("rpm", "1"));
    const first = index();
    await published(repository, await packaged("rpm", "2"));
    expect(index()).toEqual(expect.arrayContaining(first));
    const { packages, removed } = await published(repository, await packaged("rpm", "10"), "--keep", "2");
    expect(packages.map(({ file }) => basename(file)).sort()).toEqual(
      ["10", "2"].map((version) => `kpatch-module-fix-${version}-1.x86_64.rpm`),
    );
    expect(removed).toEqual(["Packages/kpatch-module-fix-1-1.x86_64.rpm"]);
    expect(readdirSync(join(repository, "Packages"))).toHaveLength(2);
    const kept = new Set(index());
    expect(first.filter((name) => name !== "repomd.xml").every((name) => !kept.has(name))).toBe(true);
    const primary = index().filter((name) => name.endsWith("primary.xml.gz"));
    expect(primary).toHaveLength(2);
  });

  test("a text with markup is a text in the advisory", async () => {
    const repository = join(scratch.folder(), "repository");
    await published(repository, await packaged("rpm", "1", "--description", '</description><x a="b"> & %{nil}'));
    const file = readdirSync(join(repository, "repodata")).find((name) => name.endsWith("updateinfo.xml.gz")) as string;
    const xml = gunzipSync(readFileSync(join(repository, "repodata", file))).toString();
    expect(xml).toContain("&lt;/description&gt;&lt;x a=&quot;b&quot;&gt; &amp; %{nil}");
  });
});

describe("debs", () => {
  function apt(root: FreshRoot, repository: string, tool: string, ...words: string[]) {
    const lists = join(root.path, "etc/sources.list");
    writeFileSync(lists, `deb [signed-by=${publicKey}] file:${repository} stable main\n`);
    mkdirSync(join(root.path, "var/lib/apt/lists/partial"), { recursive: true });
    mkdirSync(join(root.path, "var/cache/apt/archives/partial"), { recursive: true });
    const options = {
      "Dir::Etc": join(root.path, "etc"),
      "Dir::Etc::sourcelist": lists,
      "Dir::Etc::sourceparts": "/nonexistent",
      "Dir::State": join(root.path, "var/lib/apt"),
      "Dir::State::status": join(root.path, "var/lib/dpkg/status"),
      "Dir::Cache": join(root.path, "var/cache/apt"),
      "Dir::Log": join(root.path, "tmp"),
      "APT::Sandbox::User": "root",
      "APT::Architecture": "amd64",
      "DPkg::Options::": `--root=${root.path}`,
      "DPkg::Pre-Install-Pkgs": "",
      "DPkg::Post-Invoke": "",
    };
    const given = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    return runProgram(tool, [...given, ...words], { DEBIAN_FRONTEND: "noninteractive" });
  }

  test("apt installs and upgrades from a signed repository", async () => {
    const repository = join(scratch.folder(), "repository");
    await published(
      repository,
      await packaged("deb", "1"),
      providerDeb(scratch.folder(), `linux-image-${release}`),
      "--gpg-key",
      signer,
    );
    const root = freshRoot();
    const update = apt(root, repository, "apt-get", "update");
    expect(update, update.output).toMatchObject({ exitCode: 0 });
    expect(update.output).not.toMatch(/^[WE]:/m);
    const installed = apt(root, repository, "apt-get", "install", "-y", "kpatch-module-fix");
    expect(installed, installed.output).toMatchObject({ exitCode: 0 });
    expect(root.bytes(`var/lib/kpatch/${release}/livepatch-fix.ko`)).toEqual(readFileSync(module));
    expect(root.read("etc/insmod.log")).toBe(`/var/lib/kpatch/${release}/livepatch-fix.ko\n`);

    await published(repository, await packaged("deb", "2"), "--gpg-key", signer, "--keep", "1");
    expect(readdirSync(join(repository, "pool/main")).sort()).toEqual([
      "kpatch-module-fix_2-1_amd64.deb",
      `linux-image-${release}_1_amd64.deb`,
    ]);
    expect(apt(root, repository, "apt-get", "update")).toMatchObject({ exitCode: 0 });
    expect(apt(root, repository, "apt-get", "upgrade", "-y")).toMatchObject({ exitCode: 0 });
    expect(root.dpkg("-l", "kpatch-module-fix").output).toMatch(/kpatch-module-fix +2-1 +amd64/);
  });

  test("apt refuses an index that somebody changed", async () => {
    const repository = join(scratch.folder(), "repository");
    await published(repository, await packaged("deb", "1"), "--gpg-key", signer);
    const entry = join(repository, "dists/stable/InRelease");
    writeFileSync(entry, readFileSync(entry, "utf8").replace("kernel live patches", "other live patches"));
    expect(apt(freshRoot(), repository, "apt-get", "update").output).toMatch(/BADSIG|invalid/);
  });

  test("another package of the same name and version is refused", async () => {
    const repository = join(scratch.folder(), "repository");
    await published(repository, await packaged("deb", "1"));
    const other = await packaged("deb", "1", "--summary", "another");
    const { exitCode, stderr } = await kmend("repo", repository, other);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("error[PACKAGE_DIFFERS]");
  });
});

test("what is no package, and packages of the other kind, are refused", async () => {
  const repository = join(scratch.folder(), "repository");
  await published(repository, await packaged("deb", "1"));
  const rpm = await packaged("rpm", "1");
  expect((await kmend("repo", repository, rpm)).stderr).toContain("error[REPOSITORY_KIND]");
  const fake = join(scratch.folder(), "fake.deb");
  copyFileSync(module, fake);
  expect((await kmend("repo", repository, fake)).stderr).toContain("error[NOT_A_PACKAGE]");
  expect((await kmend("repo", repository, module)).stderr).toContain("error[NOT_A_PACKAGE]");
  expect((await kmend("repo", join(scratch.folder(), "new"))).stderr).toContain("error[REPOSITORY_KIND]");
});
