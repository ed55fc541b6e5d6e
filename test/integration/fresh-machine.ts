import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Ended, runProgram } from "./fresh-root.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** Commands of the README in its blocks of shell text. */
export function commandsOfReadme(): string[] {
  const text = readFileSync(join(repository, "README.md"), "utf8");
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => (match[1] as string).trim());
}

/** Where packages come from, as this machine's first source of packages has it. */
function mirror(): string {
  const deb822 = "/etc/apt/sources.list.d/debian.sources";
  const text = existsSync(deb822) ? readFileSync(deb822, "utf8") : readFileSync("/etc/apt/sources.list", "utf8");
  const found = /^(?:URIs:|deb(?: \[[^\]]*\])?)\s+(\S+)/m.exec(text)?.[1];
  if (found === undefined) throw new Error("this machine has no source of Debian packages");
  return found;
}

/**
 * A root of a Debian release with nothing but git, gcc and the certificates of the network, this machine's Node, and a checkout of this repository without
 * what npm installs.
 */
export class FreshMachine {
  readonly path: string;

  /** @param folder that does not exist yet. @param suite name of the release, for example `bookworm`. */
  constructor(folder: string, suite: string) {
    this.path = folder;
    const without = ["doc", "man", "locale", "info"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
    const words = ["--quiet", "--variant=minbase", "--include=gcc,git,ca-certificates,libstdc++6", ...without];
    const made = runProgram("mmdebstrap", [...words, suite, folder, mirror()]);
    if (made.exitCode !== 0) throw new Error(`mmdebstrap ${suite} failed: ${made.output}`);
    // The updates of the release, where its kernels come from.
    const at = mirror();
    const security = at.replace(/\/debian\/?$/, "/debian-security");
    writeFileSync(
      join(folder, "etc/apt/sources.list"),
      `deb ${at} ${suite} main\ndeb ${at} ${suite}-updates main\ndeb ${security} ${suite}-security main\n`,
    );
    this.#copyNode();
    for (const file of ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"]) {
      if (existsSync(file)) writeFileSync(join(folder, file), readFileSync(file));
    }
    const files = execFileSync("git", ["-C", repository, "ls-files", "-z"], { encoding: "utf8" }).split("\0");
    for (const file of files.filter((name) => name !== "" && existsSync(join(repository, name)))) {
      mkdirSync(dirname(join(folder, "kmend", file)), { recursive: true });
      cpSync(join(repository, file), join(folder, "kmend", file), { verbatimSymlinks: true });
    }
    // As git clone leaves it: tests ask git which files are the repository's.
    for (const words of [
      ["init", "--quiet"],
      ["add", "--all"],
    ])
      execFileSync("git", ["-C", join(folder, "kmend"), ...words], { stdio: "pipe" });
  }

  #copyNode(): void {
    copyFileSync(process.execPath, join(this.path, "usr/bin/node"));
    chmodSync(join(this.path, "usr/bin/node"), 0o755);
    const npm = execFileSync("npm", ["root", "--global"], { encoding: "utf8" }).trim();
    cpSync(join(npm, "npm"), join(this.path, "usr/lib/node_modules/npm"), { recursive: true });
    for (const name of ["npm", "npx"]) {
      const script = `#!/bin/sh\nexec node /usr/lib/node_modules/npm/bin/${name}-cli.js "$@"\n`;
      writeFileSync(join(this.path, "usr/bin", name), script, { mode: 0o755 });
    }
  }

  /** Runs a shell command in the checkout, with a /proc and processes of its own that end with it. */
  run(command: string): Ended {
    const script = `
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount --rbind /sys "$0/sys" || exit 99
exec chroot "$0" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_registry="$2" DEBIAN_FRONTEND=noninteractive \\
  sh -c 'cd /kmend && eval "$1"' sh "$1"`;
    const registry = execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim();
    const apart = ["--mount", "--pid", "--fork", "--kill-child"];
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      [...apart, "sh", "-c", script, this.path, command, registry],
      {
        encoding: "utf8",
        maxBuffer: 1 << 28,
      },
    );
    return { exitCode: status ?? -1, output: `${stdout}${stderr}` };
  }
}
