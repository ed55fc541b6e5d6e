import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { sha256 } from "../../src/support/cache.ts";
import { runProgram } from "../integration/fresh-root.ts";
import { Scratch } from "../integration/stock-kernel.ts";
import { sampleUpdate } from "../update/sample-update.ts";
import { smallModule } from "../update/small-module.ts";
import { kmend } from "./captured.ts";

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

async function packaged(format: string, ...words: string[]): Promise<string> {
  const output = scratch.folder();
  const { exitCode, stderr } = await kmend("package", "--format", format, "--output", output, ...words);
  expect(exitCode, stderr).toBe(0);
  const name = readdirSync(output).find((file) => file.endsWith(format === "spec" ? ".spec" : ""));
  return join(output, name as string);
}

describe("texts from outside come out as texts", () => {
  const witness = join(scratch.path, "witness");
  const bad = [
    `%(touch ${witness})`,
    `%{lua: io.open("${witness}", "w")}`,
    `$(touch ${witness})`,
    `\`touch ${witness}\``,
    "%files",
    "%post",
    `touch ${witness}`,
    "%if 0",
    "# a comment? \\",
    "'quotes' \"of\" both kinds; 100%",
    "%%description %{nil}",
    "ünïcödé",
  ];

  test("in an RPM and its spec", async () => {
    const words = [
      "--description",
      bad.join("\n"),
      "--summary",
      bad.join("\n"),
      "--license",
      "GPL %(id) \\",
      "--maintainer",
      "%{x} <a@b>",
    ];
    const rpm = await packaged("rpm", ...words, module);
    const query = (format: string) => runProgram("rpm", ["-qp", "--qf", format, rpm], { LC_ALL: "C.UTF-8" }).output;
    const description = query("%{DESCRIPTION}").split("\n");
    expect(description).toEqual(bad.map((line) => (/^[%#]/.test(line) ? `> ${line}` : line).replace(/\\$/, "\\.")));
    expect(query("%{SUMMARY}")).toBe(bad.join(" "));
    expect(query("%{LICENSE}")).toBe("GPL %(id) \\.");
    expect(query("[%{CHANGELOGNAME}\n]")).toBe("%{x} <a@b> - 1-1\n");
    expect(query("[%{FILENAMES}\n]")).toBe(`/var/lib/kpatch/${release}/livepatch-fix.ko\n`);
    expect(query("%{POSTIN}")).not.toContain(witness);
    expect(existsSync(witness)).toBe(false);
  });

  test("in a deb", async () => {
    const deb = await packaged(
      "deb",
      "--description",
      `${bad.join("\n")}\n\nDepends: evil\n.`,
      "--summary",
      `one\nDepends: evil`,
      module,
    );
    const field = (name: string) => execFileSync("dpkg-deb", ["-f", deb, name], { encoding: "utf8" }).trimEnd();
    expect(field("Depends")).toBe(`linux-image-${release} | linux-image-${release}-unsigned`);
    const [synopsis, ...lines] = field("Description").split("\n");
    expect(synopsis).toBe("one Depends: evil");
    expect(lines).toEqual([...bad.map((line) => ` ${line}`), " .", " Depends: evil", "  ."]);
    expect(existsSync(witness)).toBe(false);
  });

  test("names of patches are texts in the description, and safe names of sources", async () => {
    const folder = scratch.folder();
    const name = `%(touch x) $(touch ${"y"}) 'q'.patch`;
    mkdirSync(join(folder, "a"));
    const patch = join(folder, name);
    writeFileSync(patch, "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
    const words = ["-o", "-", "-k", "3.10.0-229.el7", "-p", patch];
    const { output } = runProgram(join(import.meta.dirname, "../../compat/kpatch-package-builder"), words);
    expect(output).toContain(`Package generated from %%(touch x) $(touch y) 'q'.patch by kpatch-package-builder`);
    expect(output).toContain("\nSource0: touch-x-touch-y-q-.patch\n");
    expect(output).toContain("\nName: kpatch-module-touch-x-touch-y-q\n");
  });

  test.each([
    ["--set-version", "1-2"],
    ["--set-version", "1%{nil}"],
    ["--set-release", "$(id)"],
    ["--package-name", "a'b"],
    ["--package-name", "%{x}"],
    ["--cve", "CVE-1"],
    ["--severity", "Huge"],
    ["--profile", "other"],
    ["--format", "zip"],
  ])("%s %j is refused", async (option, value) => {
    const { exitCode, stderr } = await kmend(
      "package",
      "--format",
      "rpm",
      "-o",
      scratch.folder(),
      module,
      option,
      value,
    );
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^error\[(PACKAGE_VALUE|USAGE)\]/);
  });
});

describe("an option that would be passed over in silence is refused", () => {
  const manifest = () => {
    const [patches, cves] = [[{ filename: "a.patch", kernels: [release] }], []];
    return scratch.file("fleet.yaml", JSON.stringify({ packages: [{ name: "x", cves, patches }] }));
  };

  test.each([
    ["a module of another kernel", () => module, ["--kernel", "6.1.0-2-amd64"], `is for ${release}, not for 6.1.0-2`],
    ["a module that has its name", () => module, ["--name", "other"], "--name does not go with this"],
    ["one package's vulnerabilities", manifest, ["--cve", "CVE-2024-12345"], "--cve does not go with this"],
    ["one package's name", manifest, ["--package-name", "y"], "--package-name does not go with this"],
    ["one package's kernel", manifest, ["--kernel", release], "--kernel does not go with this"],
  ])("%s", async (_title, operand, options, message) => {
    const words = ["package", "--format", "spec", "-o", scratch.folder(), ...options, operand()];
    const { exitCode, stderr } = await kmend(...words);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });

  test("the kernel that a module is for may be named", async () => {
    await packaged("deb", "--kernel", release, module);
  });
});

describe("a spec that builds the module", () => {
  const words = ["package", "--kernel", release, "--profile", "kpatch-module"];
  const patch = () => scratch.file("fix.patch", "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");

  test("has the options of the build, as words of the shell", async () => {
    const output = scratch.folder();
    const options = ["--no-replace", "--max-units", "9", "--allow-layout", "struct %{x} $(id) '\n%files"];
    const { exitCode, stderr } = await kmend(...words, "--format", "spec", "-o", output, ...options, patch());
    expect(exitCode, stderr).toBe(0);
    expect(readFileSync(join(output, "kpatch-module-fix.spec"), "utf8")).toContain(
      `\nkmend build '--no-replace' '--allow-layout' 'struct %%{x} $(id) '\\'' %%files' '--max-units' '9' --kernel '${release}'`,
    );
  });

  test.each([
    ["spec", "--image", "vmlinuz"],
    ["srpm", "--sourcerpm", "kernel.src.rpm"],
    ["spec", "--oot-module", "a.ko", "--oot-module-src", "a"],
    ["srpm", "--sign-key", "a.pem", "--sign-cert", "b.pem"],
    ["deb", "--gpg-key", "a"],
    ["tar", "--gpg-sign"],
  ])("a package of format %s with %s is refused", async (format, ...options) => {
    const { exitCode, stderr } = await kmend(...words, "--format", format, "-o", scratch.folder(), ...options, patch());
    expect(exitCode, stderr).toBe(2);
    expect(stderr).toMatch(/^error\[USAGE\]: (a package of format s\w+ is built elsewhere|gpg signs RPMs)/);
  });
});

test("nothing strips a module that is signed and has debug information", async () => {
  const folder = scratch.folder();
  const signed = join(folder, "livepatch-fix.ko");
  const marked = Buffer.concat([readFileSync(module), Buffer.from("signature~Module signature appended~\n")]);
  writeFileSync(signed, marked);
  const unpacked = scratch.folder();
  execFileSync("sh", ["-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh", await packaged("rpm", signed)], {
    cwd: unpacked,
  });
  expect(readFileSync(join(unpacked, `var/lib/kpatch/${release}/livepatch-fix.ko`)).equals(marked)).toBe(true);
});

test("Red Hat's convention for a kernel of its family", async () => {
  const kernel = "5.14.0-362.8.1.el9_3.x86_64";
  const path = smallModule(scratch.folder(), { name: "kpatch-5_14_0-362_8_1-1-2", release: kernel });
  const rpm = await packaged("rpm", "--set-release", "2", "--cve", "CVE-2024-12345", path);
  const query = (format: string) => runProgram("rpm", ["-qp", "--qf", format, rpm]).output;
  expect(query("%{NVRA}")).toBe("kpatch-patch-5_14_0-362_8_1-1-2.x86_64");
  expect(query("[%{PROVIDENEVRS}\n]")).toContain(
    "kpatch-patch = 5.14.0-362.8.1.el9_3\nkpatch-patch = 5.14.0-362.8.1.el9_3.x86_64\n",
  );
  expect(query("[%{REQUIRENEVRS}\n]")).toContain(`kernel-uname-r = ${kernel}\n`);
  expect(query("[%{CONFLICTNEVRS}\n]")).toBe("kpatch-patch-5_14_0-362_8_1 < 1-2\n");
  expect(readFileSync(await packaged("spec", path), "utf8")).toContain("\nExclusiveArch: x86_64\n");
  expect(query("[%{CHANGELOGTEXT}\n]")).toContain("- Fixes {CVE-2024-12345}");
  expect(query("[%{FILENAMES}\n]")).toContain(`/usr/lib/kpatch/${kernel}/kpatch-5_14_0-362_8_1-1-2.ko\n`);
});

describe("an update of ksplice-create", () => {
  const hostile = "Fix %{x} $(id)\n%files\nmore";
  const builder = join(import.meta.dirname, "../../compat/kpatch-package-builder");
  const unpack = {
    rpm: 'rpm2cpio "$1" | cpio -idm --quiet',
    deb: 'dpkg-deb -x "$1" .',
  } as const;
  const moduleIn = (format: keyof typeof unpack, path: string) => {
    const folder = scratch.folder();
    execFileSync("sh", ["-c", unpack[format], "sh", path], { cwd: folder });
    return sha256(readFileSync(join(folder, "var/lib/kpatch/6.1.0-9-amd64/ksplice-abc-1.ko")));
  };

  test.each(["rpm", "deb"] as const)("is the module of a package of format %s", async (format) => {
    const update = await sampleUpdate(scratch.folder(), { id: "abc-1", description: hostile });
    const path = await packaged(format, "--profile", "kpatch-module", update.path);
    expect(moduleIn(format, path)).toBe(update.sha256);
  });

  test("is packaged by kpatch-package-builder too, and its spec needs nothing else", async () => {
    const folder = scratch.folder();
    const update = await sampleUpdate(folder, { id: "abc-1", description: hostile });
    const run = (...words: string[]) => runProgram("sh", ["-c", 'cd "$0" && exec "$@"', folder, ...words]);
    expect(run(builder, "-b", update.path)).toMatchObject({ exitCode: 0 });
    const name = "kpatch-module-ksplice-abc-1-1-1.x86_64.rpm";
    expect(moduleIn("rpm", join(folder, name))).toBe(update.sha256);
    expect(run("rpm", "-qp", "--qf", "%{DESCRIPTION}", name).output).toBe("Fix %{x} $(id)\n> %files\nmore");
    expect(run(builder, update.path)).toMatchObject({ exitCode: 0 });
    rmSync(update.path);
    const places = ["_topdir", "_sourcedir", "_rpmdir"].flatMap((place) => ["--define", `${place} ${folder}`]);
    expect(run("rpmbuild", "-bb", ...places, "ksplice-abc-1.spec")).toMatchObject({ exitCode: 0 });
    expect(moduleIn("rpm", join(folder, "x86_64", name))).toBe(update.sha256);
  });

  test("on top of another one is refused", async () => {
    const after = [{ id: "abc-1", sha256: "a".repeat(64) }];
    const { path } = await sampleUpdate(scratch.folder(), { id: "abc-2", after });
    for (const ended of [
      await kmend("package", "--format", "deb", "-o", scratch.folder(), path),
      runProgram(builder, ["-b", path]),
    ]) {
      expect(ended.exitCode).toBe(1);
      expect("stderr" in ended ? ended.stderr : ended.output).toContain("goes on top of update abc-1");
    }
  });
});

describe("an archive", () => {
  test("is packaged again with the same modules", async () => {
    const archive = await packaged("tar", module);
    const deb = await packaged("deb", archive);
    const folder = scratch.folder();
    execFileSync("dpkg-deb", ["-x", deb, folder]);
    expect(readFileSync(join(folder, `var/lib/kpatch/${release}/livepatch-fix.ko`)).equals(readFileSync(module))).toBe(
      true,
    );
  });

  const hostile: readonly [string, string][] = [
    ["with a way out of its folder", "mkdir b && echo x >b/x && tar -czPf t.tar.gz --transform 's,b/,b/../../,' b/x"],
    ["with an absolute name", "mkdir b && echo x >b/x && tar -czPf t.tar.gz --transform 's,b/,/b/,' b/x"],
    ["with a link", "mkdir b && ln -s /etc b/x && tar -czf t.tar.gz b"],
    [
      "with a module that SHA256SUMS does not name",
      "mkdir b && echo x >b/x.ko && : >b/SHA256SUMS && tar -czf t.tar.gz b",
    ],
    ["that unpacks to more than it may", "mkdir b && truncate -s 300M b/x && tar -c b | gzip -1 >t.tar.gz"],
    ["that is none", "echo hello >t.tar.gz"],
  ];
  test.each(hostile)("%s is refused", async (_title, script) => {
    const folder = scratch.folder();
    execFileSync("sh", ["-c", script], { cwd: folder });
    const { exitCode, stderr } = await kmend("package", "--format", "deb", "-o", folder, join(folder, "t.tar.gz"));
    expect(exitCode).toBe(4);
    expect(stderr).toContain("error[BAD_ARCHIVE]");
  });
});
