import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readModinfo } from "../../src/elf/modinfo.ts";
import { findTargetKernel } from "../../src/target/find.ts";
import { runProgram } from "./fresh-root.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const builder = join(repository, "compat/kpatch-package-builder");
const scratch = new Scratch();
let release: string;

beforeAll(async () => {
  release = (await stockKernel()).kernel.release;
});
afterAll(() => scratch.remove());

function example(name: string): string {
  return join(repository, "examples", `${name}.patch`);
}

/** Runs the launcher in a folder, as a user does. */
function packageBuilder(folder: string, ...words: string[]) {
  return runProgram("sh", ["-c", 'cd "$0" && exec "$@"', folder, builder, ...words], { TMPDIR: scratch.path });
}

function vermagic(module: Uint8Array): string {
  return readModinfo(module).get("vermagic")?.[0]?.split(" ")[0] ?? "";
}

/** Files of an RPM, unpacked. */
function unpackRpm(rpm: string): string {
  const folder = scratch.folder();
  execFileSync("sh", ["-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh", rpm], { cwd: folder });
  return folder;
}

describe("the announcement of kpatch-package-builder", () => {
  let folder: string;
  let output: string;

  beforeAll(() => {
    folder = scratch.folder();
    copyFileSync(example("meminfo-string"), join(folder, "livepatch-test.patch"));
    const ended = packageBuilder(folder, "-k", release, "-b", "livepatch-test.patch");
    expect(ended, ended.output).toMatchObject({ exitCode: 0 });
    output = ended.output;
  });

  test("says what it says there", () => {
    const lines = output.trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toBe("kpatch-package-builder: generating spec file...");
    expect(lines[1]).toBe("kpatch-package-builder: building RPM...");
    expect(lines[2]).toMatch(/^kpatch-package-builder: writing spec file to \/\S+\/kpatch_\w{6}\.spec\.\.\.$/);
    expect(lines[3]).toBe("kpatch-package-builder: writing kpatch-module-livepatch-test-1-1.x86_64.rpm...");
    const spec = /to (\S+\.spec)\.\.\./.exec(output)?.[1] ?? "";
    expect(spec.startsWith(scratch.path)).toBe(true);
    expect(existsSync(spec)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(["kpatch-module-livepatch-test-1-1.x86_64.rpm", "livepatch-test.patch"]);
  });

  test("the package has the metadata that it has there", () => {
    const { output } = runProgram("rpm", ["-qip", join(folder, "kpatch-module-livepatch-test-1-1.x86_64.rpm")]);
    // Size, date and signature apart, these are the announcement's lines; rpm no longer tells that a package cannot be relocated.
    for (const line of [
      "Name        : kpatch-module-livepatch-test",
      "Version     : 1",
      "Release     : 1",
      "Architecture: x86_64",
      "Install Date: (not installed)",
      "Group       : System Environment/Kernel",
      "License     : GPLv2",
      "Signature   : (none)",
      "Source RPM  : kpatch-module-livepatch-test-1-1.src.rpm",
      "Build Host  : localhost",
      "Summary     : kpatch livepatch module",
      "Description :",
      "Package generated from livepatch-test.patch by kpatch-package-builder",
    ]) {
      expect(output.split("\n")).toContain(line);
    }
  });

  test("the package holds one file, the module for that kernel", () => {
    const rpm = join(folder, "kpatch-module-livepatch-test-1-1.x86_64.rpm");
    const listed = runProgram("rpm", ["-qlp", rpm])
      .output.split("\n")
      .filter((line) => line.startsWith("/"));
    expect(listed).toEqual([`/var/lib/kpatch/${release}/kpatch-livepatch-test.ko`]);
    const module = readFileSync(join(unpackRpm(rpm), listed[0] as string));
    expect(vermagic(module)).toBe(release);
    expect(readModinfo(module).get("livepatch")).toEqual(["Y"]);
  });
});

test("the spec builds the module on another machine that has kmend, and takes a finished one", () => {
  const folder = scratch.folder();
  copyFileSync(example("meminfo-string"), join(folder, "fix.patch"));
  const ended = packageBuilder(folder, "-k", release, "--set-version", "2", "--set-release", "3", "fix.patch");
  expect(ended.output).toBe(
    "kpatch-package-builder: generating spec file...\nkpatch-package-builder: writing spec file to fix.spec...\n",
  );
  const programs = join(folder, "programs");
  mkdirSync(programs);
  execFileSync("ln", ["-s", join(repository, "bin/kmend"), join(programs, "kmend")]);
  const rpmbuild = (...words: string[]) => {
    const defines = { _topdir: join(folder, "top"), _sourcedir: folder, _rpmdir: folder, _srcrpmdir: folder };
    const given = Object.entries(defines).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
    return runProgram("rpmbuild", [...given, ...words, join(folder, "fix.spec")], {
      PATH: `${programs}:${process.env["PATH"]}`,
    });
  };
  const built = rpmbuild("-ba");
  expect(built, built.output).toMatchObject({ exitCode: 0 });
  const rpm = join(folder, "x86_64/kpatch-module-fix-2-3.x86_64.rpm");
  const path = `var/lib/kpatch/${release}/kpatch-fix.ko`;
  const module = readFileSync(join(unpackRpm(rpm), path));
  expect(vermagic(module)).toBe(release);
  expect(runProgram("rpm", ["-qlp", join(folder, "kpatch-module-fix-2-3.src.rpm")]).output).toContain("fix.patch\n");

  writeFileSync(join(folder, `${release}.kpatch-fix.ko`), module);
  const again = rpmbuild("-bb", "--with", "prebuilt");
  expect(again, again.output).toMatchObject({ exitCode: 0 });
  expect(again.output).not.toContain("kmend build");
  expect(readFileSync(join(unpackRpm(rpm), path))).toEqual(module);
});

test("a spec goes to standard output alone, and to the file of that name", () => {
  const folder = scratch.folder();
  mkdirSync(join(folder, "patches"));
  copyFileSync(example("meminfo-string"), join(folder, "patches/fix.patch"));
  const run = (...words: string[]) =>
    execFileSync("sh", ["-c", 'cd "$0" && exec "$@" 2>/dev/null', folder, builder, ...words], { encoding: "utf8" });
  const printed = run("-k", "3.10.0-229.el7", "-p", "patches/fix.patch", "-o", "-");
  expect(printed).toMatch(/^# Made by kmend/);
  expect(printed).toContain("/var/lib/kpatch/3.10.0-229.el7.x86_64/kpatch-fix.ko\n");
  run("-k", "3.10.0-229.el7", "-p", "patches/fix.patch", "-o", "other.spec");
  expect(readFileSync(join(folder, "other.spec"), "utf8")).toBe(printed);
});

test.each([
  [[], "a patch or a manifest is needed"],
  [["a.patch", "--manifest", "b"], "exclude each other"],
  [["-p", "a.patch", "b.patch"], "given twice"],
  [["-b", "-o", "x.spec", "a.patch"], "exclude each other"],
  [["-k", "1/../2", "a.patch"], "cannot be a kernel release"],
  [["-a", "vax", "a.patch"], "no packages for the architecture"],
  [["--unknown"], "unknown option"],
])("wrong usage %j ends with 2", (words, message) => {
  const { exitCode, output } = packageBuilder(scratch.folder(), ...words);
  expect(exitCode).toBe(2);
  expect(output).toContain(message);
});

test("each kernel of a manifest gets the module that was built for it", async () => {
  const kernels = [release, await otherRelease()];
  const folder = scratch.folder();
  copyFileSync(example("meminfo-string"), join(folder, "meminfo.patch"));
  copyFileSync(example("cmdline-helper"), join(folder, "cmdline.patch"));
  const list = kernels.join(", ");
  writeFileSync(
    join(folder, "fleet.yaml"),
    `packages:
  - name: both
    version: 4
    patches:
      - filename: meminfo.patch
        kernels: [${list}]
      - filename: cmdline.patch
        kernels: [${list}]
  - name: alone
    version: 5
    patches:
      - {filename: cmdline.patch, kernels: [${release}]}
`,
  );
  const ended = packageBuilder(folder, "-b", "--manifest", "fleet.yaml");
  expect(ended, ended.output).toMatchObject({ exitCode: 0 });
  const rpms = readdirSync(folder).filter((name) => name.endsWith(".rpm"));
  expect(rpms.sort()).toEqual(["kpatch-module-alone-5-1.x86_64.rpm", "kpatch-module-both-4-1.x86_64.rpm"]);
  const unpacked = unpackRpm(join(folder, "kpatch-module-both-4-1.x86_64.rpm"));
  expect(readdirSync(join(unpacked, "var/lib/kpatch")).sort()).toEqual([...kernels].sort());
  for (const kernel of kernels) {
    const module = readFileSync(join(unpacked, "var/lib/kpatch", kernel, "kpatch-both.ko"));
    expect(vermagic(module)).toBe(kernel);
    expect(
      readModinfo(module)
        .get("kmend.patch")
        ?.map((text) => text.slice(65)),
    ).toEqual(["meminfo.patch", "cmdline.patch"]);
  }
});

/** Another kernel of the same source, which takes the least time to prepare. */
async function otherRelease(): Promise<string> {
  const wanted = release.replace(/-amd64$/, "-cloud-amd64");
  return (await findTargetKernel({ kernel: wanted })).release;
}

test("a refused patch makes no package and ends with 4", async () => {
  const folder = scratch.folder();
  const { tree } = await stockKernel();
  const source = readFileSync(join(tree.path, "fs/proc/version.c"), "utf8");
  const changed = source.replace('"version", 0,', '"version", 0400,');
  expect(changed).not.toBe(source);
  const patch = scratch.patch(tree.path, { "fs/proc/version.c": () => changed }, "init");
  const { exitCode, output } = packageBuilder(folder, "-k", release, "-b", patch);
  expect(exitCode, output).toBe(4);
  expect(output).toContain("refused[INIT_CODE]");
  expect(readdirSync(folder)).toEqual([]);
});
