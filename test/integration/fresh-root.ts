import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** How a program ended. */
export interface Ended {
  readonly exitCode: number;
  readonly output: string;
}

/** Runs a program and returns both of its streams. */
export function runProgram(file: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): Ended {
  const { status, stdout, stderr } = spawnSync(file, words, {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C", ...env },
  });
  return { exitCode: status ?? -1, output: `${stdout}${stderr}` };
}

/**
 * A folder with a small userland of its own (dash, busybox, dpkg), in which rpm and dpkg install and run scriptlets. Its `uname` and `insmod` only pretend,
 * so that scriptlets see a running kernel of the test's choice and, below /sys, a livepatch core that replaces what was loaded before.
 */
export class FreshRoot {
  readonly path = mkdtempSync(join(tmpdir(), "kmend-root-"));

  /** @param running what uname says; undefined leaves `uname` and `insmod` as they are, for a root that is booted. */
  constructor(running?: string) {
    for (const folder of [
      "bin",
      "etc",
      "tmp",
      "dev",
      "run",
      "sys/kernel/livepatch",
      "var/lib/dpkg/info",
      "var/lib/dpkg/updates",
    ]) {
      mkdirSync(join(this.path, folder), { recursive: true });
    }
    writeFileSync(join(this.path, "var/lib/dpkg/status"), "");
    copyFileSync(which("busybox"), join(this.path, "bin/busybox"));
    execFileSync("chroot", [this.path, "/bin/busybox", "--install", "-s", "/bin"]);
    this.copyProgram("dash", "sh");
    this.copyProgram("dpkg");
    if (running === undefined) return;
    this.program("uname", "cat /etc/running");
    this.program(
      "insmod",
      `echo "$1" >>/etc/insmod.log
if [ -e /etc/insmod-fails ]; then echo "insmod: ERROR: could not insert module $1" >&2; exit 1; fi
name=$(basename "$1" .ko | tr - _)
rm -rf /sys/kernel/livepatch/*
mkdir -p "/sys/kernel/livepatch/$name"
echo 1 >"/sys/kernel/livepatch/$name/enabled"
echo 0 >"/sys/kernel/livepatch/$name/transition"`,
    );
    this.write("etc/running", `${running}\n`);
  }

  /** Puts a shell script where the root's programs are. */
  program(name: string, body: string): void {
    const path = join(this.path, "bin", name);
    if (existsSync(path)) unlinkSync(path);
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(join(this.path, file)), { recursive: true });
    writeFileSync(join(this.path, file), text);
  }

  has(file: string): boolean {
    return existsSync(join(this.path, file));
  }

  copyFile(from: string, file: string): void {
    mkdirSync(dirname(join(this.path, file)), { recursive: true });
    copyFileSync(from, join(this.path, file));
  }

  /** Copies a folder of this machine to the same place. */
  copyFolder(path: string): void {
    cpSync(path, join(this.path, path), { recursive: true, verbatimSymlinks: true });
  }

  /** Runs a program of this root with an environment of its own. */
  run(...words: string[]): Ended {
    const env = ["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LC_ALL=C"];
    return runProgram("env", [...env, "chroot", this.path, ...words]);
  }

  /** Content of a file; empty when there is none. */
  read(file: string): string {
    return this.has(file) ? readFileSync(join(this.path, file), "utf8") : "";
  }

  bytes(file: string): Uint8Array {
    return readFileSync(join(this.path, file));
  }

  /** Runs rpm on the database of this root, the same that dnf takes. */
  rpm(...words: string[]): Ended {
    return runProgram("rpm", ["--root", this.path, ...words]);
  }

  /** Runs dpkg on this root's database. */
  dpkg(...words: string[]): Ended {
    return runProgram("dpkg", [`--root=${this.path}`, "--log=/dev/null", ...words], {
      DEBIAN_FRONTEND: "noninteractive",
    });
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  /** Copies a program of this machine with its libraries. */
  copyProgram(name: string, as = name): void {
    const from = which(name);
    const path = join(this.path, "bin", as);
    if (existsSync(path)) unlinkSync(path);
    copyFileSync(from, path);
    for (const [library] of execFileSync("ldd", [from], { encoding: "utf8" }).matchAll(/\/lib\S+/g)) {
      const target = join(this.path, library);
      mkdirSync(dirname(target), { recursive: true });
      if (!existsSync(target)) copyFileSync(library, target);
    }
  }
}

function which(name: string): string {
  return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
}

/** An RPM without files that provides things: the shell and the kernel that packages ask for. */
export function providerRpm(folder: string, name: string, provides: readonly string[]): string {
  const spec = join(folder, `${name}.spec`);
  const lines = ["Version: 1", "Release: 1", "Summary: x", "License: x", "BuildArch: noarch"];
  writeFileSync(
    spec,
    [`Name: ${name}`, ...lines, ...provides.map((what) => `Provides: ${what}`), "%description", "x", "%files", ""].join(
      "\n",
    ),
  );
  execFileSync(
    "rpmbuild",
    ["-bb", "--define", `_topdir ${join(folder, "build")}`, "--define", `_rpmdir ${folder}`, spec],
    {
      stdio: "pipe",
    },
  );
  return join(folder, "noarch", `${name}-1-1.noarch.rpm`);
}

/** A deb without files. */
export function providerDeb(folder: string, name: string, version = "1"): string {
  const root = join(folder, `${name}-root`);
  mkdirSync(join(root, "DEBIAN"), { recursive: true });
  const fields = [
    `Package: ${name}`,
    `Version: ${version}`,
    "Architecture: amd64",
    "Maintainer: x <x@invalid>",
    "Description: x",
  ];
  writeFileSync(join(root, "DEBIAN", "control"), `${fields.join("\n")}\n`);
  const path = join(folder, `${name}_${version}_amd64.deb`);
  execFileSync("dpkg-deb", ["--root-owner-group", "-b", root, path], { stdio: "pipe" });
  return path;
}

/** A gpg home of its own with one key, in GNUPGHOME of this process. */
export function gpgHome(address: string): string {
  const home = mkdtempSync(join(tmpdir(), "kmend-gpg-"));
  chmodSync(home, 0o700);
  process.env["GNUPGHOME"] = home;
  const words = [
    "--batch",
    "--quiet",
    "--passphrase",
    "",
    "--quick-generate-key",
    `Test <${address}>`,
    "rsa2048",
    "sign",
    "never",
  ];
  execFileSync("gpg", words, { stdio: "pipe" });
  return home;
}

/** Folder with a link to kmend's launcher, for PATH. */
export function programFolder(folder: string, launcher: string): string {
  const path = join(folder, "programs");
  mkdirSync(path);
  symlinkSync(launcher, join(path, "kmend"));
  return path;
}
