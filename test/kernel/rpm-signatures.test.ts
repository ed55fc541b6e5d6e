import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { downloadKernelRpms } from "../../src/kernel/sources/rpm/dnf.ts";
import { readRpm } from "../../src/kernel/sources/rpm/rpm-file.ts";
import { signaturePolicy } from "../../src/kernel/sources/rpm/rpm-signatures.ts";
import { signRpm } from "../../src/package/formats/rpm.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { gpgHome } from "../integration/fresh-root.ts";
import { type SmallRpms, smallRpms } from "./small-rpms.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const root = mkdtempSync(join(tmpdir(), "kmend-signatures-"));
const homes: string[] = [];
afterAll(() => {
  for (const home of homes) {
    execFileSync("gpgconf", ["--homedir", home, "--kill", "all"]);
    rmSync(home, { recursive: true });
  }
  rmSync(root, { recursive: true });
});

let rpms: SmallRpms;
let signed: string;
let key: string;
let otherKey: string;

beforeAll(async () => {
  rpms = smallRpms(root, { packages: { "": {}, core: { "/lib/modules/x": "x" } } });
  const keyOf = (address: string): string => {
    homes.push(gpgHome(address));
    const file = join(root, address);
    writeFileSync(file, execFileSync("gpg", ["--armor", "--export", address]));
    return file;
  };
  otherKey = keyOf("other@example.org");
  key = keyOf("kernels@example.org");
  signed = join(root, basename(rpms.packages["core"] as string));
  copyFileSync(rpms.packages["core"] as string, signed);
  await signRpm(signed, "kernels@example.org");
});

let count = 0;
/** Downloads the package from a repository with these settings. */
async function download(path: string, ...settings: string[]): Promise<string[]> {
  const folder = join(root, `repository-${count++}`);
  mkdirSync(join(folder, "packages"), { recursive: true });
  copyFileSync(path, join(folder, "packages", basename(path)));
  execFileSync("createrepo_c", ["-q", join(folder, "packages")]);
  const main = [
    "[main]",
    "reposdir=/nonexistent",
    "plugins=1",
    `cachedir=${folder}/cache`,
    `persistdir=${folder}/state`,
    `logdir=${folder}`,
  ];
  const repository = ["[kernels]", "name=kernels", `baseurl=file://${folder}/packages`, ...settings];
  const configuration = join(folder, "dnf.conf");
  writeFileSync(configuration, `${[...main, ...repository].join("\n")}\n`);
  const context = { cache: join(folder, "kept"), progress: new SilentProgress() };
  const source = await readRpm(rpms.source, context);
  return downloadKernelRpms({ source, configuration, kernel: undefined, architecture: "x86_64" }, context);
}

test("a package that its repository's key signed is taken", async () => {
  expect(
    (await download(signed, "gpgcheck=1", `gpgkey=file://${otherKey}`, `  file://${key}`)).map((path) =>
      basename(path),
    ),
  ).toEqual([basename(signed)]);
});

test("where signatures are not asked for, none is needed", async () => {
  expect(await download(rpms.packages["core"] as string, "gpgcheck=0")).toHaveLength(1);
});

test("a package without a signature, or with that of another key, is refused", async () => {
  for (const [path, ring] of [
    [rpms.packages["core"] as string, key],
    [signed, otherKey],
  ] as const) {
    await expect(download(path, "gpgcheck=1", `gpgkey=file://${ring}`)).rejects.toMatchObject({
      code: "RPM_SIGNATURE",
      message: `${basename(signed)} is not signed with a key of its repository`,
      exitCode: 5,
    });
  }
});

test("a key that is not there is told", async () => {
  await expect(download(signed, "gpgcheck=1", "gpgkey=file:///nowhere/key")).rejects.toMatchObject({
    code: "RPM_KEY",
    where: "file:///nowhere/key",
  });
});

test("the policy is read as dnf 4 and 5 print it", () => {
  expect(signaturePolicy("gpgcheck = 1\ngpgkey = file:///a, https://b/c\nrepo_gpgcheck = 0\n")).toEqual({
    isAsked: true,
    keys: ["file:///a", "https://b/c"],
  });
  expect(signaturePolicy("pkg_gpgcheck=True\ngpgkey=\n")).toEqual({ isAsked: true, keys: [] });
  expect(signaturePolicy("repo_gpgcheck = 1\ngpgcheck = 0\n")).toEqual({ isAsked: false, keys: [] });
});
