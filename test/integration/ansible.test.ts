import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
import { smallModule } from "../update/small-module.ts";
import { type Ended, runProgram } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const contrib = fileURLToPath(new URL("../../contrib/ansible", import.meta.url));
const launcher = fileURLToPath(new URL("../../bin/kmend", import.meta.url));
const scratch = new Scratch();
let repository: string;

/** A host: this machine's files below its own, in a mount namespace. What runs on it is run by its interpreter. */
interface Host {
  readonly name: string;
  readonly folder: string;
  readonly enter: string;
}
let hosts: readonly Host[];

const isLong = process.env["KMEND_LONG_TESTS"] === "1";

beforeAll(async () => {
  if (!isLong) return;
  repository = scratch.folder();
  // The package of the module depends on that of its kernel.
  const image = join(scratch.folder(), "image");
  mkdirSync(join(image, "DEBIAN"), { recursive: true });
  const fields = [
    "Package: linux-image-6.1.0-1-amd64",
    "Version: 1",
    "Architecture: amd64",
    "Maintainer: nobody <nobody@invalid>",
  ];
  writeFileSync(join(image, "DEBIAN/control"), `${[...fields, "Description: stands in for a kernel"].join("\n")}\n`);
  const built = runProgram("dpkg-deb", ["--root-owner-group", "-b", image, `${image}.deb`]);
  expect(built.exitCode, built.output).toBe(0);
  expect((await kmend("repo", repository, `${image}.deb`, "--no-install")).exitCode).toBe(0);
  for (const version of ["1", "2"]) {
    const module = smallModule(scratch.folder(), { name: "kpatch-fix", release: "6.1.0-1-amd64", text: version });
    const output = scratch.folder();
    const words = ["package", module, "--format", "deb", "--set-version", version, "-o", output, "--no-install"];
    expect((await kmend(...words)).exitCode).toBe(0);
    const file = join(output, `kpatch-module-fix_${version}-1_amd64.deb`);
    expect((await kmend("repo", repository, file, "--no-install")).exitCode).toBe(0);
  }
});
afterAll(() => scratch.remove());
beforeEach(() => {
  hosts = ["one", "two", "three"].map(makeHost);
});

function makeHost(name: string): Host {
  const folder = scratch.folder();
  for (const part of ["upper", "work", "root"]) mkdirSync(join(folder, part));
  const enter = join(folder, "python3");
  // The folder for temporary files and that of the packages are those of this machine.
  writeFileSync(
    enter,
    `#!/bin/sh
exec unshare -m sh -ec '
  cd "$1"; shift
  mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
  mount --bind /tmp root/tmp
  mount -t proc proc root/proc
  mount --bind /dev root/dev
  exec chroot root /usr/bin/python3 "$@"
' sh ${folder} "$@"
`,
  );
  chmodSync(enter, 0o755);
  const host = { name, folder, enter };
  const list = `deb [trusted=yes] file:${repository} stable main`;
  const setUp = `
import os, subprocess
open("/etc/apt/sources.list.d/kmend-test.list", "w").write(${JSON.stringify(`${list}\n`)})
subprocess.run(["apt-get", "update", "-q", "-o", "Dir::Etc::sourcelist=/etc/apt/sources.list.d/kmend-test.list",
  "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0", "-o", "APT::Sandbox::User=root"], check=True)
`;
  const ended = runProgram(enter, ["-c", setUp]);
  expect(ended.exitCode, ended.output).toBe(0);
  return host;
}

/** Version of the package on a host; nothing where it is not installed. */
function installed({ enter }: Host): string {
  const ask =
    'import subprocess; print(subprocess.run(["dpkg-query", "-W", "-f", "$" + "{db:Status-Abbrev}$" + "{Version}", "kpatch-module-fix"], capture_output=True, text=True).stdout)';
  const said = runProgram(enter, ["-c", ask]).output.trim();
  return said.startsWith("ii") ? said.slice(2).trim() : "";
}

function play(playbook: string, variables: object = {}, ...words: readonly string[]): Ended {
  const inventory = join(scratch.folder(), "hosts");
  const local = "ansible_connection=local";
  writeFileSync(
    inventory,
    hosts.map(({ name, enter }) => `${name} ${local} ansible_python_interpreter=${enter}\n`).join(""),
  );
  const usual = {
    kmend_packages: ["kpatch-module-fix=1-1"],
    kmend_command: [launcher],
    kmend_become: false,
    kmend_check_retries: 1,
    kmend_check_delay: 1,
    kmend_waves: [1, 1, "100%"],
  };
  const given = JSON.stringify({ ...usual, ...variables });
  return runProgram("ansible-playbook", ["-i", inventory, join(contrib, playbook), "-e", given, ...words], {
    ANSIBLE_LOCAL_TEMP: scratch.path,
    ANSIBLE_REMOTE_TEMP: scratch.path,
    ANSIBLE_NOCOLOR: "1",
    ANSIBLE_PIPELINING: "1",
    LC_ALL: "C.UTF-8",
    HOME: scratch.path,
  });
}

test.runIf(isLong)("hosts get the packages in waves, and check mode changes nothing", () => {
  const checked = play("waves.yml", {}, "--check", "--limit", "one");
  expect(checked.exitCode, checked.output).toBe(0);
  expect(hosts.map(installed)).toEqual(["", "", ""]);
  const ended = play("waves.yml");
  expect(ended.exitCode, ended.output).toBe(0);
  expect(hosts.map(installed)).toEqual(["1-1", "1-1", "1-1"]);
  const again = play("waves.yml", {}, "--limit", "one");
  expect(again.output).toMatch(/one +: ok=\d+ +changed=0 /);
});

test.runIf(isLong)("a host that is not well is taken back, and ends the roll-out after its wave", () => {
  writeFileSync(join((hosts[1] as Host).folder, "upper/etc/broken"), "");
  const health = ["test", "!", "-e", "/etc/broken"];
  const first = play("waves.yml", { kmend_health_command: health });
  expect(first.exitCode, first.output).not.toBe(0);
  expect(first.output).toContain("two is not well with kpatch-module-fix=1-1");
  expect(hosts.map(installed)).toEqual(["1-1", "", ""]);
  // What was there before comes back.
  const hostTwo = play("waves.yml", {}, "--limit", "two");
  expect(hostTwo.exitCode, hostTwo.output).toBe(0);
  const second = play("waves.yml", { kmend_packages: ["kpatch-module-fix=2-1"], kmend_health_command: health });
  expect(second.exitCode, second.output).not.toBe(0);
  expect(hosts.map(installed), second.output).toEqual(["2-1", "1-1", ""]);
  expect(play("back-out.yml").exitCode).toBe(0);
  expect(hosts.map(installed)).toEqual(["", "", ""]);
});

test.runIf(isLong)("a command for the fleet and a file stop it between waves", () => {
  const stop = join(scratch.folder(), "stop");
  const seen = join(scratch.folder(), "seen");
  const asks = ["sh", "-c", `echo wave >> ${seen}; touch ${stop}`];
  const ended = play("waves.yml", { kmend_stop_file: stop, kmend_fleet_health_command: asks });
  expect(ended.exitCode).not.toBe(0);
  expect(ended.output).toContain("the roll-out stops before two");
  expect(readFileSync(seen, "utf8")).toBe("wave\n");
  expect(hosts.map(installed)).toEqual(["1-1", "", ""]);
  expect(existsSync(stop)).toBe(true);
});
