import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
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
/** Downloads the package from a new repository with these settings. */
function download(path: string, ...settings: string[]): Promise<string[]> {
  const name = `repository-${count++}`;
  const packages = join(root, name, "packages");
  mkdirSync(packages, { recursive: true });
  copyFileSync(path, join(packages, basename(path)));
  execFileSync("createrepo_c", ["-q", packages]);
  return downloadFrom(name, settings);
}

/** Downloads from a repository that is there, into the same cache as before. */
async function downloadFrom(name: string, settings: readonly string[]): Promise<string[]> {
  const folder = join(root, name);
  const main = [
    "[main]",
    "reposdir=/nonexistent",
    "plugins=1",
    `cachedir=${folder}/cache`,
    `persistdir=${folder}/state`,
    `logdir=${folder}`,
  ];
  const at = settings.indexOf("[main]");
  const own = at < 0 ? settings : settings.slice(0, at);
  const repository = ["[kernels]", "name=kernels", `baseurl=file://${folder}/packages`, ...own];
  const configuration = join(folder, "dnf.conf");
  writeFileSync(configuration, `${[...main, ...(at < 0 ? [] : settings.slice(at + 1)), ...repository].join("\n")}\n`);
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

test("of two settings the stricter one counts, and a value that nobody knows is a yes", () => {
  expect(signaturePolicy("gpgcheck = 0\ngpgkey\npkg_gpgcheck = 1\n")).toEqual({ isAsked: true, keys: [] });
  expect(signaturePolicy("gpgcheck = all\n")).toEqual({ isAsked: true, keys: [] });
});

test.each(["", "usage: dnf [options] COMMAND\n", "repo_gpgcheck = 0\nlocalpkg_gpgcheck = 0\n"])(
  "no policy is not a policy of no signatures: %j",
  (text) => {
    expect(signaturePolicy(text)).toBeUndefined();
  },
);

test("the setting of [main] counts for a repository without one of its own", async () => {
  await expect(
    download(rpms.packages["core"] as string, `gpgkey=file://${key}`, "[main]", "gpgcheck=1"),
  ).rejects.toMatchObject({ code: "RPM_SIGNATURE" });
});

test("packages that were taken without signatures are checked when signatures are asked for later", async () => {
  const unsigned = rpms.packages["core"] as string;
  await download(unsigned, "gpgcheck=0");
  const again = (check: string): Promise<string[]> =>
    downloadFrom(`repository-${count - 1}`, [`gpgcheck=${check}`, `gpgkey=file://${key}`]);
  await expect(again("1")).rejects.toMatchObject({ code: "RPM_SIGNATURE" });
  expect(await again("0")).toHaveLength(1);
});

/** What dnf 5 takes and prints, in front of the machine's dnf 4: no -c, no config-manager --dump, a dump in the order of the alphabet. */
const dnf5 = `#!/bin/sh
words=
for word; do
  case $word in
  -c|config-manager) echo "Unknown argument \\"$word\\" for command \\"dnf5\\". Add \\"--help\\" for more information about the arguments." >&2; exit 2 ;;
  --config=*) file=\${word#*=} ;;
  --dump-repo-config=*) dump=\${word#*=} ;;
  esac
done
[ -n "$dump" ] || exec "$DNF4" "$@"
grep -q "^\\[$dump\\]" "$file" && [ -z "$FORGETS" ] || exit 0
value=$(sed -n 's/^gpgcheck=//p' "$file")
printf '======== "%s" repository configuration: ========\\ngpgcheck = %s\\ngpgkey = %s\\npkg_gpgcheck = %s\\nusername\\n' \\
  "$dump" "$value" "$(sed -n 's/^gpgkey=//p' "$file")" "$value"
`;

describe("with dnf 5", () => {
  const path = process.env["PATH"] ?? "";
  beforeEach(() => {
    const programs = mkdtempSync(join(root, "programs-"));
    writeFileSync(join(programs, "dnf"), dnf5, { mode: 0o755 });
    const dnf4 = execFileSync("sh", ["-c", "command -v dnf"], { encoding: "utf8" }).trim();
    vi.stubEnv("DNF4", dnf4);
    vi.stubEnv("PATH", `${programs}:${path}`);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test("packages are checked as with dnf 4", async () => {
    expect(await download(signed, "gpgcheck=1", `gpgkey=file://${key}`)).toHaveLength(1);
    expect(await download(rpms.packages["core"] as string, "gpgcheck=0")).toHaveLength(1);
    for (const [file, ring] of [
      [rpms.packages["core"] as string, key],
      [signed, otherKey],
    ] as const)
      await expect(download(file, "gpgcheck=1", `gpgkey=file://${ring}`)).rejects.toMatchObject({
        code: "RPM_SIGNATURE",
      });
  });

  test("packages of a repository whose policy it does not print are refused", async () => {
    vi.stubEnv("FORGETS", "1");
    await expect(download(rpms.packages["core"] as string, "gpgcheck=1")).rejects.toMatchObject({
      code: "RPM_POLICY",
      message: "dnf does not tell whether packages of kernels have to be signed",
      exitCode: 5,
    });
  });
});
