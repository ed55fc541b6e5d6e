import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { kmend } from "../cli/captured.ts";
import { runProgram } from "./fresh-root.ts";
import { newestOf612, Scratch, stockKernel } from "./stock-kernel.ts";

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

test("the spec builds the module on another machine that has kmend, and takes a finished one", async () => {
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

  const packed = await kmend(
    ...["package", "--format", "srpm", "--profile", "kpatch-patch", "--kernel", release, "--no-replace"],
    ...["--output", folder, join(folder, "fix.patch")],
  );
  expect(packed.exitCode, packed.stderr).toBe(0);
  const name = `kpatch-patch-${release.replaceAll(".", "_")}-1-1`;
  const elsewhere = runProgram(
    "rpmbuild",
    ["--rebuild", "--define", `_topdir ${join(folder, "elsewhere")}`, join(folder, `${name}.src.rpm`)],
    { PATH: `${programs}:${process.env["PATH"]}` },
  );
  expect(elsewhere, elsewhere.output).toMatchObject({ exitCode: 0 });
  const rebuilt = unpackRpm(join(folder, "elsewhere/RPMS/x86_64", `${name}.x86_64.rpm`));
  const file = `kpatch-${release.replaceAll(".", "_")}-1-1.ko`;
  const cumulative = readFileSync(join(rebuilt, "usr/lib/kpatch", release, file));
  expect(vermagic(cumulative)).toBe(release);
  expect(readManifest(new ElfReader(cumulative))?.replace, "options of the build are in the spec").toBe(false);

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
  const kernels = [release, await newestOf612()];
  const folder = scratch.folder();
  mkdirSync(join(folder, "patches"));
  copyFileSync(example("meminfo-string"), join(folder, "patches/meminfo.patch"));
  copyFileSync(example("cmdline-helper"), join(folder, "cmdline.patch"));
  const list = kernels.join(", ");
  writeFileSync(
    join(folder, "fleet.yaml"),
    `packages:
  - name: both
    version: 4
    patches:
      - filename: patches/meminfo.patch
        kernels: [${list}]
      - filename: cmdline.patch
        kernels: [${list}]
  - name: split
    version: 1.10
    patches:
      - {filename: cmdline.patch, kernels: [${kernels[0]}]}
      - {filename: patches/meminfo.patch, kernels: [${kernels[1]}]}
`,
  );
  const ended = packageBuilder(folder, "-b", "--manifest", "fleet.yaml");
  expect(ended, ended.output).toMatchObject({ exitCode: 0 });
  const rpms = readdirSync(folder).filter((name) => name.endsWith(".rpm"));
  expect(rpms.sort()).toEqual(["kpatch-module-both-4-1.x86_64.rpm", "kpatch-module-split-1.10-1.x86_64.rpm"]);
  const patchesOf = {
    both: [
      ["meminfo.patch", "cmdline.patch"],
      ["meminfo.patch", "cmdline.patch"],
    ],
    split: [["cmdline.patch"], ["meminfo.patch"]],
  };
  for (const rpm of rpms) {
    const name = rpm.includes("both") ? "both" : "split";
    const unpacked = unpackRpm(join(folder, rpm));
    expect(readdirSync(join(unpacked, "var/lib/kpatch")).sort()).toEqual([...kernels].sort());
    for (const [index, kernel] of kernels.entries()) {
      const module = readFileSync(join(unpacked, "var/lib/kpatch", kernel, `kpatch-${name}.ko`));
      expect(vermagic(module)).toBe(kernel);
      const patches = readModinfo(module).get("kmend.patch") ?? [];
      expect(patches.map((text) => text.slice(65))).toEqual(patchesOf[name][index]);
    }
  }
});

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
