import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, utimesSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const scratch = new Scratch();
let release: string;
let home: string;
let preload: string;

/** What the announcement of kpatch-package-builder shows: three commands, and every line that they print. */
const prompt = "[vagrant@localhost ~]$ ";
const transcript = `
[vagrant@localhost ~]$ kpatch-package-builder -b livepatch-test.patch
kpatch-package-builder: generating spec file...
kpatch-package-builder: building RPM...
kpatch-package-builder: writing spec file to /tmp/kpatch_3I6mHJ.spec...
kpatch-package-builder: writing kpatch-module-livepatch-test-1-1.x86_64.rpm...
[vagrant@localhost ~]$ rpm -qip kpatch-module-livepatch-test-1-1.x86_64.rpm
Name        : kpatch-module-livepatch-test
Version     : 1
Release     : 1
Architecture: x86_64
Install Date: (not installed)
Group       : System Environment/Kernel
Size        : 281661
License     : GPLv2
Signature   : (none)
Source RPM  : kpatch-module-livepatch-test-1-1.src.rpm
Build Date  : Wed 24 Jun 2015 15:26:46 EDT
Build Host  : localhost
Relocations : (not relocatable)
Summary     : kpatch livepatch module
Description :
Package generated from livepatch-test.patch by kpatch-package-builder
[vagrant@localhost ~]$ rpm -qlp kpatch-module-livepatch-test-1-1.x86_64.rpm
/var/lib/kpatch/3.10.0-229.el7.x86_64/kpatch-livepatch-test.ko
`;

/** The commands, each with the lines below it. */
const shown = transcript
  .trim()
  .split(prompt)
  .slice(1)
  .map((part) => part.trimEnd().split("\n"))
  .map(([command = "", ...lines]) => ({ command, lines }));

beforeAll(async () => {
  release = (await stockKernel()).kernel.release;
  home = scratch.folder();
  const patch = join(home, "livepatch-test.patch");
  copyFileSync(join(repository, "examples/meminfo-string.patch"), patch);
  // The time of the announcement's package; it is that of the patch.
  const date = Date.UTC(2015, 5, 24, 19, 26, 46) / 1000;
  utimesSync(patch, date, date);
  preload = pretendedKernel(release);
});
afterAll(() => scratch.remove());

/** A library that lets uname(2) tell another release, so that "the running kernel" is the stock kernel here too. */
function pretendedKernel(name: string): string {
  const source = scratch.file(
    "uname.c",
    `#define _GNU_SOURCE
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
int uname(struct utsname *name) {
	int result = (int)syscall(SYS_uname, name);
	if (result == 0) strcpy(name->release, "${name}");
	return result;
}
`,
  );
  const library = source.replace(/\.c$/, ".so");
  execFileSync("gcc", ["-shared", "-fPIC", "-o", library, source]);
  return library;
}

/** Types a command at that prompt. @returns every line of both streams, in order. */
function typed(command: string): string[] {
  const { status, stdout } = spawnSync("sh", ["-c", `exec 2>&1; ${command}`], {
    cwd: home,
    encoding: "utf8",
    env: {
      ...process.env,
      PATH: `${join(repository, "compat")}${delimiter}${process.env["PATH"]}`,
      TMPDIR: scratch.path,
      LD_PRELOAD: preload,
      LC_ALL: "C",
      TZ: "EST5EDT,M3.2.0,M11.1.0",
    },
  });
  expect(status, stdout).toBe(0);
  return stdout.trimEnd().split("\n");
}

/** What differs between that machine and this one; every other line has to be the same. */
function expected(line: string, module: Uint8Array): unknown {
  if (line.includes("/tmp/kpatch_")) {
    return expect.stringMatching(
      new RegExp(`^kpatch-package-builder: writing spec file to ${scratch.path}/kpatch_\\w{6}\\.spec\\.\\.\\.$`),
    );
  }
  if (line.startsWith("Size")) return `Size        : ${module.length}`;
  // The same moment; how it is written depends on the locale.
  if (line.startsWith("Build Date")) return expect.stringMatching(/^Build Date {2}: Wed (Jun 24|24 Jun) .*15:26:46/);
  return line.replace("3.10.0-229.el7.x86_64", release);
}

test("the announcement's session, line by line", () => {
  const [build, describe, list] = shown.map(({ command }) => typed(command));
  const rpm = join(home, "kpatch-module-livepatch-test-1-1.x86_64.rpm");
  const unpacked = scratch.folder();
  execFileSync("sh", ["-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh", rpm], { cwd: unpacked });
  const module = readFileSync(join(unpacked, list?.[0] as string));
  // Newer versions of rpm leave the line out where there is nothing to tell.
  const relocations = typed(`rpm -qp --qf '%|PREFIXES?{%{PREFIXES}}:{(not relocatable)}|\\n' ${rpm}`)[0];
  const at = describe?.findIndex((line) => line.startsWith("Build Host")) as number;
  if (!describe?.some((line) => line.startsWith("Relocations"))) {
    describe?.splice(at + 1, 0, `Relocations : ${relocations}`);
  }
  for (const [index, actual] of [build, describe, list].entries()) {
    expect(actual).toEqual(shown[index]?.lines.map((line) => expected(line, module)));
  }
  expect(readModinfo(module).get("vermagic")?.[0]?.split(" ")[0]).toBe(release);
  expect(readModinfo(module).get("livepatch")).toEqual(["Y"]);
  // The spec that it wrote is there to be read; beside the patch there is the package and nothing else.
  const spec = /to (\S+\.spec)\.\.\./.exec(build?.join("\n") ?? "")?.[1] ?? "";
  expect(existsSync(spec)).toBe(true);
  expect(readdirSync(home).sort()).toEqual(["kpatch-module-livepatch-test-1-1.x86_64.rpm", "livepatch-test.patch"]);
});
