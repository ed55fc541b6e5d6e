import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { requirements } from "../../src/support/requirement-table.ts";
import { checkRequirements, detectPackageManager, neededOf } from "../../src/support/requirements.ts";
import { read, typeScriptFiles } from "./source-files.ts";

/** What comes in one package with a program that the table has. */
const together: Readonly<Record<string, readonly string[]>> = {
  ld: ["as", "objcopy", "strip", "nm", "readelf", "addr2line"],
  rpm: ["rpmkeys", "rpmsign", "rpmspec"],
  createrepo_c: ["modifyrepo_c"],
  mke2fs: ["debugfs"],
  "gpg-agent": ["gpgconf"],
  "dpkg-source": ["dpkg-scanpackages"],
};

/** Of packages that Debian marks essential or required, and of Node's. */
const everywhere: readonly string[] = [
  ...[
    "bash",
    "cat",
    "chroot",
    "cp",
    "diff",
    "dpkg",
    "du",
    "dpkg-query",
    "env",
    "find",
    "grep",
    "gzip",
    "ldd",
    "ln",
    "ls",
  ],
  ...["flock", "mkfifo", "mount", "mv", "printf", "rm", "sh", "sleep", "tar", "timeout", "touch", "umount", "unshare"],
  ...["apt-cache", "apt-config", "apt-get", "node", "npm"],
];

/** Used where it is there, or only where the words before it say that it has to be. */
const optional: Readonly<Record<string, string>> = {
  ccache: "compiles faster where the user has it",
  chcon: "labels files where SELinux is on",
  systemctl: "speaks to systemd on hosts that run it",
  lintian: "is asked for by the README, for the long tests",
};

/** kmend's own, and those that a test makes. */
const own = /^k(?:mend|patch|splice)(?:-[a-z-]+)?$/;

/** Names of programs that a call of one of these functions starts. */
const call =
  /\b(?:run|runProgram|execa|spawn|spawnSync|execFile|execFileSync|walk|requireProgram)\(\s*"([a-zA-Z][\w.+-]*)"/g;

const tables = new Set(requirements.flatMap(({ evidence }) => ("name" in evidence ? [evidence.name] : [])));
const started = new Set(
  ["src", "test", "bench", "packaging"]
    .flatMap(typeScriptFiles)
    .flatMap((path) => [...read(path).matchAll(call)].map((match) => match[1] as string)),
);
const companions = Object.values(together).flat();

test("doctor knows every program that is started anywhere", () => {
  const known = new Set([...tables, ...companions, ...everywhere, ...Object.keys(optional)]);
  expect(started).toContain("modinfo");
  expect([...started].filter((name) => !known.has(name) && !own.test(name)).sort()).toEqual([]);
  expect(Object.keys(together).filter((name) => !tables.has(name))).toEqual([]);
});

test("after doctor --install, all of them are there", async () => {
  const missing = (await checkRequirements(["test"])).filter(({ foundAt }) => foundAt === undefined);
  const needed = await neededOf(
    missing.map(({ requirement }) => requirement),
    await detectPackageManager(),
  );
  expect(needed.map(({ name }) => name)).toEqual([]);
  const absent = new Set(missing.map(({ requirement }) => requirement.name));
  const wanted = [...tables, ...companions, ...everywhere].filter((name) => !absent.has(name));
  const path = `${process.env["PATH"]}:/usr/local/sbin:/usr/sbin:/sbin`;
  const unseen = wanted.filter((name) => {
    const found = execFileSync("sh", ["-c", 'command -v "$0" || true', name], {
      encoding: "utf8",
      env: { PATH: path },
    });
    return found.trim() === "";
  });
  expect(unseen).toEqual([]);
});
