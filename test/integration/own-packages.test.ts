import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildExecutable } from "../../packaging/executable.ts";
import { buildPackages } from "../../packaging/packages.ts";
import { commands } from "../../src/cli/command-table.ts";
import { timeoutOption } from "../../src/cli/options/host-options.ts";
import { version } from "../../src/support/version.ts";
import { FreshRoot, providerDeb, providerRpm, runProgram } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const long = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
let packages: readonly string[];
const own = (pattern: RegExp): string => packages.find((path) => pattern.test(basename(path))) as string;

beforeAll(async () => {
  process.env["SOURCE_DATE_EPOCH"] = "1700000000";
  process.env["DEBFULLNAME"] = "Test";
  process.env["DEBEMAIL"] = "test@debian.org";
  packages = await buildPackages(await buildExecutable(scratch.folder()), scratch.folder(), "quick");
});
afterAll(() => {
  for (const name of ["SOURCE_DATE_EPOCH", "DEBFULLNAME", "DEBEMAIL"]) delete process.env[name];
  scratch.remove();
});

test("there are two packages of each format", () => {
  expect(packages.map((path) => basename(path)).sort()).toEqual([
    `kmend-${version()}-1.x86_64.rpm`,
    `kmend-compat-${version()}-1.noarch.rpm`,
    `kmend-compat_${version()}_all.deb`,
    `kmend_${version()}_amd64.deb`,
  ]);
});

test.runIf(long)("the same sources give the same packages", async () => {
  const again = await buildPackages(await buildExecutable(scratch.folder()), scratch.folder(), "quick");
  for (const path of again) {
    const first = packages.find((other) => basename(other) === basename(path)) as string;
    expect(readFileSync(path).equals(readFileSync(first)), basename(path)).toBe(true);
  }
});

test.runIf(long)("lintian finds no error", () => {
  const { output } = runProgram("lintian", ["--allow-root", ...packages.filter((path) => path.endsWith(".deb"))]);
  expect(output.split("\n").filter((line) => line.startsWith("E:"))).toEqual([]);
});

describe("the debs in a root of their own", () => {
  let root: FreshRoot;

  beforeAll(() => {
    root = new FreshRoot();
    const folder = scratch.folder();
    const needed = ["libc6", "libgcc-s1", "libstdc++6", "kmod"].map((name) => providerDeb(folder, name, "99"));
    const { exitCode, output } = root.dpkg("--install", ...needed);
    expect(exitCode, output).toBe(0);
    // Programs that the scripts of the package call, which note what they are asked to do.
    for (const name of ["deb-systemd-helper", "deb-systemd-invoke"]) root.program(name, `echo "${name} $*" >>/calls`);
    root.copyProgram("/usr/bin/bash", "bash");
    root.copyProgram("/usr/bin/zsh", "zsh");
    root.copyProgram("/usr/bin/fish", "fish");
    for (const path of ["/usr/lib/x86_64-linux-gnu/zsh", "/usr/share/zsh/functions", "/usr/share/fish"])
      root.copyFolder(path);
    mkdirSync(join(root.path, "usr/bin"), { recursive: true });
    root.copyProgram("/usr/bin/node", "node-libraries");
    root.write("var/lib/kpatch/6.1.0-one/livepatch_first.ko", "");
    root.write("var/lib/kpatch/6.1.0-two/livepatch_second.ko", "");
    root.write("sys/kernel/livepatch/livepatch_loaded/enabled", "1\n");
    root.write("sys/kernel/livepatch/ksplice_7x2k9a0b/enabled", "1\n");
    root.write("lib/modules/6.1.0-two/modules.builtin", "");
    root.write("work/a.patch", "");
    root.write("work/b.ko", "");
    root.write("work/c.txt", "");
  });
  afterAll(() => root.remove());

  test("are installed, enable the service and load nothing", () => {
    const { exitCode, output } = root.dpkg("--install", own(/^kmend_/), own(/^kmend-compat_/));
    expect(exitCode, output).toBe(0);
    expect(root.read("calls").split("\n").slice(0, 2)).toEqual([
      "deb-systemd-helper unmask kmend.service",
      "deb-systemd-helper --quiet was-enabled kmend.service",
    ]);
    expect(root.read("calls")).toContain("deb-systemd-helper enable kmend.service");
    expect(root.read("calls")).not.toMatch(/start/);
    expect(root.run("kmend", "--version").output).toBe(`${version()}\n`);
    expect(root.run("kpatch", "version").output).toBe(`${version()}\n`);
    expect(root.has("usr/lib/systemd/system/kmend.service")).toBe(true);
  });

  test("bring a manual page for every command, which mandoc finds nothing wrong with", () => {
    const pages = ["man1", "man8"].flatMap((section) => {
      return readdirSync(join(root.path, "usr/share/man", section)).map((name) => `usr/share/man/${section}/${name}`);
    });
    const names = pages.map((path) => basename(path, ".gz"));
    for (const { name } of commands) expect(names).toContain(`kmend-${name}.1`);
    for (const name of readdirSync("compat")) expect(names.some((page) => page.startsWith(`${name}.`))).toBe(true);
    for (const page of pages) {
      const text = gunzipSync(root.bytes(page)).toString("utf8");
      const file = scratch.file(basename(page, ".gz"), text);
      expect(runProgram("mandoc", ["-Tlint", "-Wwarning", file]), page).toEqual({ exitCode: 0, output: "" });
    }
    const text = runProgram("mandoc", ["-Tutf8", join(root.path, "usr/share/man/man1/kmend-load.1.gz")]).output;
    // Bold and italics are overstruck.
    const plain = text.replaceAll(new RegExp(`.${String.fromCharCode(8)}`, "g"), "");
    const described = plain.slice(plain.indexOf("--timeout S\n")).replaceAll(/\s+/g, " ");
    expect(described.startsWith(`--timeout S ${timeoutOption.description}`), described).toBe(true);
    expect(plain).toMatch(/kmend load --dry-run livepatch-fix.ko/);
  });

  /** What bash offers for a command line. */
  function bash(...words: string[]): string[] {
    const file = `/usr/share/bash-completion/completions/${words[0]}`;
    const script = `cd /work; . ${file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _${words[0]?.replaceAll("-", "_")}; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { exitCode, output } = root.run("/bin/bash", "-c", script, "bash", ...words);
    expect(exitCode, output).toBe(0);
    return output.split("\n").filter(Boolean).sort();
  }

  /** What fish offers. */
  function fish(line: string): string[] {
    const { exitCode, output } = root.run("/bin/fish", "-c", `cd /work; complete -C '${line}'`);
    expect(exitCode, output).toBe(0);
    return output
      .split("\n")
      .filter(Boolean)
      .map((text) => text.split("\t")[0] as string)
      .sort();
  }

  /** What zsh lists. */
  function zsh(line: string): string[] {
    const listed = execFileSync("python3", ["-c", zshAtTerminal, root.path, line], { encoding: "utf8" });
    return listed
      .split("\n")
      .map((text) => text.trim())
      .filter(Boolean);
  }

  test("bash completes commands, options, values and names", () => {
    expect(bash("kmend", "un")).toEqual(["undo", "uninstall", "unload"]);
    expect(bash("kmend", "load", "--t")).toEqual(["--timeout"]);
    expect(bash("kmend", "load", "livepatch_")).toEqual(["livepatch_first", "livepatch_second"]);
    expect(bash("kmend", "--json", "load", "")).toEqual(["b.ko", "livepatch_first", "livepatch_second"]);
    expect(bash("kmend", "unload", "")).toEqual(["ksplice_7x2k9a0b", "livepatch_loaded"]);
    expect(bash("kmend", "undo", "")).toEqual(["7x2k9a0b"]);
    expect(bash("kmend", "build", "")).toEqual(["a.patch"]);
    expect(bash("kmend", "build", "--kernel", "")).toEqual(["6.1.0-one", "6.1.0-two", "newest"]);
    expect(bash("kmend", "package", "--format", "=", "s")).toEqual(["spec", "srpm"]);
    expect(bash("kmend", "help", "unl")).toEqual(["unload"]);
    expect(bash("kmend", "nonsense", "")).toEqual([]);
    expect(bash("kpatch", "uninstall", "")).toEqual(["livepatch_first", "livepatch_second"]);
    expect(bash("ksplice-apply", "--part")).toEqual(["--partial"]);
    expect(bash("kpatch-build", "--skip-g")).toEqual(["--skip-gcc-check"]);
  });

  test("fish does", () => {
    expect(fish("kmend un")).toEqual(["undo", "uninstall", "unload"]);
    expect(fish("kmend load --t")).toEqual(["--timeout"]);
    expect(fish("kmend load livepatch_")).toEqual(["livepatch_first", "livepatch_second"]);
    expect(fish("kmend unload ")).toEqual(["ksplice_7x2k9a0b", "livepatch_loaded"]);
    expect(fish("kmend undo ")).toEqual(["7x2k9a0b"]);
    expect(fish("kmend build --kernel ")).toEqual(["6.1.0-one", "6.1.0-two", "newest"]);
    expect(fish("kmend package --format=s")).toEqual(["--format=spec", "--format=srpm"]);
    expect(fish("kpatch uninstall ")).toEqual(["livepatch_first", "livepatch_second"]);
    expect(fish("ksplice-apply --part")).toEqual(["--partial"]);
  });

  test("zsh does", () => {
    expect(zsh("kmend un").join("\n")).toMatch(/^unload +-- revert and unload patch modules$/m);
    expect(zsh("kmend un").map((text) => text.split(" ")[0])).toEqual(["undo", "uninstall", "unload"]);
    expect(zsh("kmend load --t").join(" ")).toMatch(/--timeout/);
    expect(zsh("kmend load livepatch_").join(" ").split(/ +/)).toEqual(["livepatch_first", "livepatch_second"]);
    expect(zsh("kmend unload ").join(" ").split(/ +/)).toEqual(["ksplice_7x2k9a0b", "livepatch_loaded"]);
    expect(zsh("kmend build --kernel ").join(" ").split(/ +/)).toEqual(["6.1.0-one", "6.1.0-two", "newest"]);
    expect(zsh("kmend package --format s").join(" ").split(/ +/)).toEqual(["spec", "srpm"]);
    expect(zsh("kpatch uninstall ").join(" ").split(/ +/)).toEqual(["livepatch_first", "livepatch_second"]);
    expect(zsh("ksplice-apply --p").join(" ")).toMatch(/--partial/);
  });

  test("are upgraded and removed without a trace, but for what the administrator installed", () => {
    root.write("calls", "");
    expect(root.dpkg("--install", own(/^kmend_/)).exitCode).toBe(0);
    root.write("var/lib/kmend/boot/6.1.0-one/livepatch_first", "loading\n");
    const removed = root.dpkg("--remove", "kmend-compat", "kmend");
    expect(removed.exitCode, removed.output).toBe(0);
    expect(root.has("var/lib/kmend/boot/6.1.0-one/livepatch_first")).toBe(true);
    expect(root.dpkg("--purge", "kmend-compat", "kmend").exitCode).toBe(0);
    expect(root.has("var/lib/kmend")).toBe(false);
    expect(root.has("var/lib/kpatch/6.1.0-one/livepatch_first.ko")).toBe(true);
    expect(root.read("calls")).toContain("deb-systemd-helper purge kmend.service");
    const left = execFileSync("find", [".", "-mindepth", "1", "-name", "*kmend*"], {
      cwd: root.path,
      encoding: "utf8",
    });
    expect(left).toBe("");
  });

  test("the names of the older tools stay away from a system that has these tools", () => {
    const folder = scratch.folder();
    expect(root.dpkg("--install", providerDeb(folder, "kpatch")).exitCode).toBe(0);
    expect(root.dpkg("--install", own(/^kmend_/)).exitCode).toBe(0);
    const both = root.dpkg("--install", own(/^kmend-compat_/));
    expect(both.exitCode).not.toBe(0);
    expect(both.output).toContain("conflicts with kpatch");
  });
});

describe("the RPMs in a root of their own", () => {
  let root: FreshRoot;

  beforeAll(() => {
    root = new FreshRoot();
    const asked = runProgram("rpm", ["-qp", "--requires", own(/^kmend-[0-9].*rpm$/)])
      .output.trim()
      .split("\n");
    const provided = [...new Set(asked)].filter((name) => !name.startsWith("rpmlib("));
    const { exitCode, output } = root.rpm("-i", providerRpm(scratch.folder(), "system", provided));
    expect(exitCode, output).toBe(0);
    root.program("systemctl", 'echo "systemctl $*" >>/calls');
    root.copyProgram("/usr/bin/bash", "bash");
    root.copyProgram("/usr/bin/node", "node-libraries");
  });
  afterAll(() => root.remove());

  test("are installed, preset the service, and start nothing", () => {
    const { exitCode, output } = root.rpm("-i", own(/^kmend-[0-9].*rpm$/), own(/^kmend-compat.*rpm$/));
    expect(exitCode, output).toBe(0);
    expect(root.read("calls")).toBe("systemctl --no-reload preset kmend.service\n");
    expect(root.read("usr/lib/systemd/system-preset/80-kmend.preset")).toBe("enable kmend.service\n");
    expect(root.run("kmend", "--version").output).toBe(`${version()}\n`);
    expect(root.run("kpatch-package-builder", "-v").output).toContain(version());
    expect(root.rpm("-V", "kmend", "kmend-compat")).toEqual({ exitCode: 0, output: "" });
  });

  test("are the kpatch that live patches of Red Hat's family ask for", () => {
    // kpatch >= 0.6.1-1
    expect(root.rpm("-q", "--whatprovides", "kpatch").output).toContain("kmend-compat");
    expect(root.rpm("-q", "--provides", "kmend-compat").output).toMatch(/^kpatch = 0\.9\.\d+$/m);
  });

  test("are removed without a trace", () => {
    const { exitCode, output } = root.rpm("-e", "kmend", "kmend-compat");
    expect(exitCode, output).toBe(0);
    expect(root.read("calls")).toContain("systemctl --no-reload disable --now kmend.service");
    expect(
      execFileSync("find", [".", "-mindepth", "1", "-name", "*kmend*"], { cwd: root.path, encoding: "utf8" }),
    ).toBe("");
  });
});

/** Types a line at the prompt of an interactive zsh in a root, asks it to list what it offers, and prints that. */
const zshAtTerminal = `
import os, pty, sys
root, line = sys.argv[1:3]
pid, terminal = pty.fork()
if pid == 0:
    os.chroot(root)
    os.chdir("/work")
    env = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TERM": "dumb", "LC_ALL": "C", "COLUMNS": "200"}
    os.execve("/bin/zsh", ["zsh", "-f", "-i"], env)
def until(mark):
    seen = b""
    while mark not in seen:
        seen += os.read(terminal, 4096)
    return seen
setup = """PS1=
unset zle_bracketed_paste
setopt nopromptsp
stty cols 200
autoload -Uz compinit
compinit -u -D
LISTMAX=0
bindkey '^I' list-choices
finish() { print; print FINI''SHED; }
zle -N finish
bindkey '^X' finish
print REA''DY
"""
os.write(terminal, setup.encode())
until(b"READY")
os.write(terminal, line.encode() + b"\\t\\x18")
for shown in until(b"FINISHED").decode().splitlines():
    # The line itself stands before the list and after it.
    if shown.strip() and not shown.startswith(line.split()[0]) and "FINISHED" not in shown:
        print(shown)
`;
