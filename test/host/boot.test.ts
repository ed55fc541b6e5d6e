import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { listLines } from "../../src/cli/report/status-report.ts";
import { confirm } from "../../src/host/boot/boot.ts";
import { judgeHealth, readHostStatus } from "../../src/host/status/status.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, release, type Wanted } from "./patch-files.ts";
import { boot, load } from "./verbs.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.dispose());

const records = `var/lib/kmend/boot/${release}`;

/** Puts a file where installed modules are; the file's owner does not matter here. */
function installed(wanted: Wanted): string {
  host.folder(`var/lib/kpatch/${release}`);
  return patchFile(join(host.root, "var/lib/kpatch", release), wanted);
}

/** The machine stops, in whatever way, and is started again. */
function reboot(id: string): void {
  for (const folder of ["sys/kernel/livepatch", "sys/module", "run/kmend"]) {
    rmSync(join(host.root, folder), { recursive: true, force: true });
  }
  host.folder("sys/kernel/livepatch");
  host.write("proc/modules", "");
  host.write("proc/sys/kernel/random/boot_id", `${id}\n`);
  uptime(10);
}

function uptime(seconds: number): void {
  host.write("proc/uptime", `${seconds}.50 1.00\n`);
}

async function outcomes(): Promise<readonly string[]> {
  const { modules } = await boot({ host });
  return modules.map(({ name, outcome, refusals }) => [name, outcome, ...refusals.map(({ code }) => code)].join(" "));
}

test("a load is on the disk before it happens, and forgotten a minute after it", async () => {
  installed({ name: "a" });
  let before = "";
  host.onInsert = () => {
    before = host.read(`${records}/a`);
  };
  uptime(10);
  expect(await outcomes()).toEqual(["a loaded"]);
  expect(before).toMatch(/^sha256=[0-9a-f]{64}\nboot=first\nuptime=10\nstate=loading$/);
  expect(host.read(`${records}/a`)).toMatch(/state=loaded$/);
  expect(host.waits).toEqual([61]);
  uptime(69);
  expect(await confirm({ host })).toMatchObject({ schema: 1, confirmed: [], early: ["a"], steps: [] });
  expect(host.waits, "it waits again").toEqual([61, 61]);
  uptime(70);
  const steps = [`rm ${join(host.root, records, "a")}`];
  expect(await confirm({ host, dryRun: true })).toMatchObject({ confirmed: ["a"], dryRun: true, steps });
  expect(host.has(`${records}/a`), "a dry run only tells").toBe(true);
  expect(await confirm({ host })).toEqual({ schema: 1, confirmed: ["a"], early: [], dryRun: false, steps });
  expect(host.has(`${records}/a`)).toBe(false);
  reboot("second");
  expect(await outcomes()).toEqual(["a loaded"]);
});

test("a machine that died within the minute does not load it again, however often it boots", async () => {
  const path = installed({ name: "a" });
  await boot({ host });
  for (const id of ["second", "third"]) {
    reboot(id);
    host.done.length = 0;
    const { modules, exitCode } = await boot({ host });
    expect(exitCode).toBe(4);
    expect(modules[0]?.refusals).toMatchObject([
      {
        code: "HELD_BACK",
        why: expect.stringMatching(
          /^it is held back: the machine went down within a minute of loading it at boot \(20/,
        ),
      },
    ]);
    expect(host.done).toEqual([]);
    uptime(1000);
    expect((await confirm({ host })).confirmed, "living without it proves nothing").toEqual([]);
  }
  const status = await readHostStatus(host);
  expect(status.installed).toMatchObject([
    {
      name: "a",
      state: "held back",
      hint: `kmend load a tries it now; kmend install ${path} lets the next boot try it again`,
    },
  ]);
  expect(judgeHealth(status)).toMatchObject({
    verdict: "missing",
    problems: [expect.stringMatching(/^a is installed, but held back: the machine went down/)],
  });
  const lines = listLines(status, (_format, text) => text).join("\n");
  expect(lines).toMatch(/a +6\S+ \(running\) +held back: the machine went down .*\n +a: kmend load a tries it now/);
});

test("a shutdown within the minute is no crash", async () => {
  installed({ name: "a" });
  await boot({ host });
  host.shuttingDown = true;
  expect((await confirm({ host })).confirmed).toEqual(["a"]);
  reboot("second");
  expect(await outcomes()).toEqual(["a loaded"]);
});

test("of several modules all of that minute are held back, and the one that was just being loaded is named", async () => {
  installed({ name: "a", replace: false, functions: ["a"] });
  installed({ name: "b", replace: false, functions: ["b"] });
  host.onInsert = (name) => {
    if (name === "b") throw new Error("the machine dies here");
  };
  await expect(boot({ host })).rejects.toThrow("the machine dies here");
  host.onInsert = () => {};
  installed({ name: "c", replace: false, functions: ["c"] });
  reboot("second");
  expect(await outcomes()).toEqual(["a refused HELD_BACK", "b refused HELD_BACK", "c loaded"]);
  const { installed: list } = await readHostStatus(host);
  expect(list.map(({ name, problem }) => [name, problem?.replace(/\(.*?\)/, "(TIME)")])).toEqual([
    ["a", "the machine went down within a minute of loading it at boot (TIME); b was being loaded just then"],
    ["b", "the machine went down while it was loaded at boot (TIME)"],
    ["c", undefined],
  ]);
});

describe("a module that was held back is let in again", () => {
  beforeEach(async () => {
    installed({ name: "a" });
    await boot({ host });
    reboot("second");
    expect(await outcomes()).toEqual(["a refused HELD_BACK"]);
    host.waits.length = 0;
  });

  test("by hand, for a minute on probation", async () => {
    expect((await load({ host, operands: ["a"] })).exitCode).toBe(0);
    expect(host.waits).toEqual([61]);
    expect((await readHostStatus(host)).installed).toMatchObject([{ state: "in force", problem: null }]);
    uptime(80);
    expect((await confirm({ host })).confirmed).toEqual(["a"]);
    reboot("third");
    expect(await outcomes()).toEqual(["a loaded"]);
  });

  test("but not by a load that brings the machine down again", async () => {
    await load({ host, operands: ["a"] });
    reboot("third");
    expect(await outcomes()).toEqual(["a refused HELD_BACK"]);
  });

  test("not by a load that fails", async () => {
    host.stuck = "enabling";
    expect((await load({ host, operands: ["a"], timeoutSeconds: 1 })).exitCode).toBe(6);
    expect(host.waits).toEqual([]);
    expect((await readHostStatus(host)).installed).toMatchObject([{ state: "held back" }]);
  });

  test("when it is another build", async () => {
    installed({ name: "a", build: "2" });
    expect((await readHostStatus(host)).installed).toMatchObject([{ state: "not loaded" }]);
    expect(await outcomes()).toEqual(["a loaded"]);
  });
});

test("a module that the kernel or kmend does not take leaves no record", async () => {
  installed({ name: "a" });
  installed({ name: "old", release: "5.10.0-1-amd64" });
  host.stuck = "enabling";
  expect((await boot({ host, timeoutSeconds: 1 })).modules.map(({ outcome }) => outcome)).toEqual([
    "stalled",
    "refused",
  ]);
  expect(readdirSync(join(host.root, records))).toEqual([]);
});

test("a second call of one boot changes nothing", async () => {
  installed({ name: "a" });
  await boot({ host });
  const record = host.read(`${records}/a`);
  expect(await outcomes()).toEqual(["a already"]);
  expect(host.read(`${records}/a`)).toBe(record);
});

test("nor does it leave a load that was killed before it was over recorded as one that never was", async () => {
  installed({ name: "a" });
  await boot({ host });
  const loading = host.read(`${records}/a`).replace("state=loaded", "state=loading");
  host.write(`${records}/a`, loading);
  uptime(20);
  expect(await outcomes()).toEqual(["a already"]);
  expect(host.read(`${records}/a`)).toMatch(/boot=first\nuptime=20\nstate=loaded$/);
  const earlier = loading.replace("boot=first", "boot=zero");
  host.write(`${records}/a`, earlier);
  expect(await outcomes(), "what an earlier boot died of stays").toEqual(["a already"]);
  expect(host.read(`${records}/a`)).toBe(earlier);
});

test("where no record can be written nothing is loaded", async () => {
  installed({ name: "a" });
  host.write("var/lib/kmend", "not a folder");
  const { modules, exitCode } = await boot({ host });
  expect(exitCode).toBe(5);
  expect(modules[0]?.refusals.map(({ code }) => code)).toEqual(["GUARD_NOT_WRITTEN"]);
  expect(host.done).toEqual([]);
  host.done.length = 0;
  expect((await load({ host, all: true })).exitCode, "without the guard it can be").toBe(0);
});

test("a damaged record holds every build back", async () => {
  installed({ name: "a" });
  host.write(`${records}/a`, "");
  expect(await outcomes()).toEqual(["a refused HELD_BACK"]);
});

test.each(["kmend.enable=0", "kpatch.enable=0"])("%s switches it off", async (word) => {
  installed({ name: "a" });
  host.write("proc/cmdline", `quiet ${word} ro\n`);
  expect(await boot({ host })).toMatchObject({ switchedOff: word, modules: [], exitCode: 0 });
  host.write("proc/cmdline", "quiet akmend.enable=0 kmend.enable=1\n");
  expect(await outcomes()).toEqual(["a loaded"]);
});

test("a dry run records nothing, and tells that it would", async () => {
  installed({ name: "a" });
  const { steps } = await boot({ host, dryRun: true });
  expect(steps[0]).toBe(`write ${join(host.root, records, "a")}, fsync`);
  expect(steps[1]).toMatch(/^insmod /);
  expect(host.has("var/lib/kmend")).toBe(false);
  expect(host.waits).toEqual([]);
});
