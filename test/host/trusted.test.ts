import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readHostStatus } from "../../src/host/status/status.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, release } from "./patch-files.ts";
import { boot, install, load } from "./verbs.ts";

let host: FakeHost;
let folder: string;
const installed = `var/lib/kpatch/${release}`;
beforeEach(() => {
  host = new FakeHost();
  folder = mkdtempSync(join(tmpdir(), "kmend-files-"));
  host.folder(installed);
  for (const path of ["var", "var/lib", "var/lib/kpatch", installed]) chmodSync(join(host.root, path), 0o755);
});
afterEach(() => {
  host.dispose();
  rmSync(folder, { recursive: true });
});

/** Puts a file among the installed ones. @returns its path. */
function put(name: string, content: Uint8Array, mode = 0o644): string {
  const path = join(host.root, installed, `${name}.ko`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function moduleNamed(name: string): Buffer {
  return readFileSync(patchFile(folder, { name, replace: false, functions: [name] }));
}

/** What became of each module at boot. */
async function booted(): Promise<readonly string[]> {
  const { modules } = await boot({ host });
  return modules.map(({ name, outcome, refusals, error }) =>
    [name, outcome, ...refusals.map(({ code }) => code), ...(error === null ? [] : [error.code])].join(" "),
  );
}

describe("at boot", () => {
  test("one that is damaged or altered is told, and the others are loaded", async () => {
    put("a", moduleNamed("a"));
    const altered = moduleNamed("b");
    altered.writeUInt8((altered.at(-1) as number) ^ 1, altered.length - 1);
    put("b", altered);
    put("c", Buffer.from("no module"));
    put("d", moduleNamed("d"));
    expect(await booted()).toEqual([
      "a loaded",
      "b.ko failed NOT_A_PATCH_MODULE",
      "c.ko failed NOT_A_PATCH_MODULE",
      "d loaded",
    ]);
    expect(host.state.patches).toEqual(["a", "d"]);
    const { installed: listed } = await readHostStatus(host);
    expect(listed.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "a in force",
      "b damaged",
      "c damaged",
      "d in force",
    ]);
  });

  test("a pipe or a device in place of a module keeps nobody waiting", async () => {
    put("a", moduleNamed("a"));
    execFileSync("mkfifo", [join(host.root, installed, "b.ko")]);
    symlinkSync("/dev/zero", join(host.root, installed, "c.ko"));
    put("d", moduleNamed("d"));
    expect([...(await booted())].sort()).toEqual([
      "a loaded",
      "b.ko failed NOT_A_PATCH_MODULE",
      "c.ko failed NOT_A_PATCH_MODULE",
      "d loaded",
    ]);
    const { installed: listed } = await readHostStatus(host);
    expect(listed.map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
      "a in force",
      "b damaged",
      "c damaged",
      "d in force",
    ]);
  });

  test("what others than root can write to is not loaded, and the rest is", async () => {
    put("a", moduleNamed("a"), 0o666);
    put("b", moduleNamed("b"));
    expect(await booted()).toEqual(["a refused UNTRUSTED_FILE", "b loaded"]);
  });

  test.each([["var/lib/kpatch"], [installed], ["var/lib"]])(
    "nothing is loaded when others can write to /%s",
    async (path) => {
      put("a", moduleNamed("a"));
      chmodSync(join(host.root, path), 0o777);
      expect(await booted()).toEqual(["a refused UNTRUSTED_FILE"]);
      expect(host.state.patches).toEqual([]);
    },
  );
});

describe("a link on the way to an installed module", () => {
  /** Puts the folder elsewhere, and a link in its place. */
  function moved(mode: number): void {
    host.folder("srv/shared");
    renameSync(join(host.root, "var/lib/kpatch"), join(host.root, "srv/shared/kpatch"));
    symlinkSync(join(host.root, "srv/shared/kpatch"), join(host.root, "var/lib/kpatch"));
    for (const path of ["srv/shared/kpatch", "srv"]) chmodSync(join(host.root, path), 0o755);
    chmodSync(join(host.root, "srv/shared"), mode);
  }

  test("is followed where root alone decides where it leads", async () => {
    put("a", moduleNamed("a"));
    moved(0o755);
    expect(await booted()).toEqual(["a loaded"]);
  });

  test("is not, where others can put another folder in the place of what it leads to", async () => {
    put("a", moduleNamed("a"));
    moved(0o777);
    expect(await booted()).toEqual(["a refused UNTRUSTED_FILE"]);
    expect(host.state.patches).toEqual([]);
  });
});

test("a link on the way that somebody else owns, or can replace, is found behind another link", async () => {
  if (process.geteuid?.() !== 0) return;
  put("a", moduleNamed("a"));
  host.folder("srv/theirs");
  renameSync(join(host.root, installed), join(host.root, "srv/real"));
  symlinkSync(join(host.root, "srv/real"), join(host.root, "srv/theirs/link"));
  symlinkSync(join(host.root, "srv/theirs/link"), join(host.root, installed));
  for (const path of ["srv", "srv/theirs", "srv/real"]) chmodSync(join(host.root, path), 0o755);
  expect(await booted()).toEqual(["a loaded"]);
  lchownSync(join(host.root, "srv/theirs/link"), 65534, 65534);
  expect(await booted()).toEqual(["a refused UNTRUSTED_FILE"]);
  lchownSync(join(host.root, "srv/theirs/link"), 0, 0);
  chownSync(join(host.root, "srv/theirs"), 65534, 65534);
  expect(await booted()).toEqual(["a refused UNTRUSTED_FILE"]);
});

test("an installed module by its name is held to the same", async () => {
  put("a", moduleNamed("a"), 0o664);
  const { modules, exitCode } = await load({ host, operands: ["a"] });
  expect(modules[0]?.refusals).toMatchObject([{ code: "UNTRUSTED_FILE" }]);
  expect(modules[0]?.refusals[0]?.why).toContain("mode 664");
  expect(exitCode).toBe(4);
});

test("what is inserted is a copy of the bytes that were checked, which nobody else reaches", async () => {
  const file = patchFile(folder, { name: "a" });
  const checked = readFileSync(file);
  const insert = host.insertModule.bind(host);
  let seen: readonly unknown[] = [];
  host.insertModule = async (path, named) => {
    // Whoever can write to the file exchanges it just before the kernel reads it.
    copyFileSync(patchFile(folder, { name: "a", build: "evil" }), file);
    const modes = [path, join(path, "..")].map((at) => statSync(at).mode & 0o777);
    seen = [readFileSync(path).equals(checked), named, ...modes];
    await insert(path);
  };
  expect((await load({ host, operands: [file] })).outcome).toBe("done");
  expect(seen).toEqual([true, file, 0o600, 0o700]);
  expect(host.has("run/kmend/insert")).toBe(false);
});

describe("the module that a patch changes", () => {
  const wanted = { name: "fuse", buildId: "11".repeat(20) };
  const other = "22".repeat(20);
  const patched = (): string => patchFile(folder, { name: "a", functions: ["fuse:foo"], modules: [wanted] });

  function note(id: string): Buffer {
    const head = Buffer.alloc(16);
    [4, id.length / 2, 3].forEach((value, at) => void head.writeUInt32LE(value, at * 4));
    head.write("GNU\0", 12, "latin1");
    return Buffer.concat([head, Buffer.from(id, "hex")]);
  }

  function loaded(id: string): void {
    host.write("sys/module/fuse/initstate", "live\n");
    host.write("sys/module/fuse/notes/.note.gnu.build-id", note(id));
  }

  /** A file of it, as depmod has listed it: any ELF file with a build id note. */
  function shipped(id: string, packed = false): void {
    const content = readFileSync(patchFile(folder, { name: "fuse", manifest: false, note: note(id) }));
    const name = `updates/dkms/fuse.ko${packed ? ".gz" : ""}`;
    host.write(`lib/modules/${release}/${name}`, packed ? gzipSync(content) : content);
    host.write(`lib/modules/${release}/modules.dep`, `kernel/fs/other.ko: ${name}\n${name}:\n`);
  }

  async function refusals(): Promise<readonly string[]> {
    const { modules } = await load({ host, operands: [patched()], dryRun: true });
    const { modules: installs } = await install({ host, operands: [patched()], dryRun: true });
    const codes = [modules, installs].map((list) => list.flatMap((one) => one.refusals.map(({ code }) => code)));
    expect(codes[0]).toEqual(codes[1]);
    return codes[0] as string[];
  }

  test("is loaded in the build that was proven, or in another one", async () => {
    loaded(wanted.buildId);
    shipped(other);
    expect(await refusals()).toEqual([]);
    loaded(other);
    shipped(wanted.buildId);
    expect(await refusals()).toEqual(["OTHER_MODULE_BUILD"]);
  });

  test.each([false, true])("is not loaded, and its file counts (packed: %s)", async (packed) => {
    shipped(wanted.buildId, packed);
    expect(await refusals()).toEqual([]);
    shipped(other, packed);
    expect(await refusals()).toEqual(["OTHER_MODULE_BUILD"]);
  });

  test("is nowhere, and then nothing of it is changed", async () => {
    expect(await refusals()).toEqual([]);
  });

  test("that shows no build id is told to be unknown", async () => {
    host.write("sys/module/fuse/initstate", "live\n");
    mkdirSync(join(host.root, "sys/module/fuse/notes"), { recursive: true });
    const { modules } = await load({ host, operands: [patched()] });
    expect(modules[0]?.outcome).toBe("loaded");
    expect(modules[0]?.notes.join("\n")).toContain("nothing shows whether it is the module that was proven");
  });
});
