import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { embeddedEngine } from "../../src/matrix/engine/embedded-engine.ts";
import { exitCodeOf, type MatrixResult } from "../../src/matrix/matrix-result.ts";
import { KmendError } from "../../src/support/errors.ts";
import { StandIn } from "./stand-in.ts";

// Each cell is a process of its own, and machines that run tests are busy.
vi.setConfig({ testTimeout: 120_000 });

let world: StandIn;
beforeEach(() => {
  world = new StandIn();
});
afterEach(() => world.remove());

function states({ cells }: MatrixResult): Record<string, string> {
  return Object.fromEntries(cells.map(({ id, state }) => [id, state]));
}

test("each package is built for each of its kernels, and becomes one package of their modules", async () => {
  world
    .package("fix", "", ["6.1.*-amd64"], "  severity: Critical\n  cves: [CVE-2026-12345]")
    .package("other", "", ["newest"]);
  const result = await world.run();
  expect(states(result)).toEqual({
    "kpatch-module-fix/6.1.0-1-amd64": "built",
    "kpatch-module-fix/6.1.0-2-amd64": "built",
    "kpatch-module-other/6.12.1-amd64": "built",
  });
  expect(result).toMatchObject({ schema: 1, outcome: "complete", counts: { built: 3, failed: 0 } });
  expect(exitCodeOf(result)).toBe(0);
  expect(result.packages).toMatchObject([
    { state: "packaged", kernels: ["6.1.0-1-amd64", "6.1.0-2-amd64"], cves: ["CVE-2026-12345"], severity: "Critical" },
    { state: "packaged", kernels: ["6.12.1-amd64"] },
  ]);
  for (const { file } of result.packages) expect(existsSync(join(world.output, "packages", file as string))).toBe(true);
  const module = readFileSync(join(world.output, "modules/kpatch-module-fix/6.1.0-1-amd64/kpatch-fix.ko"));
  expect(module.equals(readFileSync(join(world.folder, "modules/6.1.0-1-amd64/kpatch-fix.ko")))).toBe(true);
  expect(JSON.parse(readFileSync(join(world.output, "matrix.json"), "utf8"))).toMatchObject({ outcome: "complete" });
});

test("a second run uses what is there, and makes the same packages", async () => {
  world.package("fix").package("no", "refuse");
  const first = await world.run();
  const packages = readdirSync(join(world.output, "packages"));
  world.forgetCalls();
  rmSync(join(world.output, "packages"), { recursive: true });
  const second = await world.run();
  expect(world.calls()).toEqual([]);
  expect(readdirSync(join(world.output, "packages"))).toEqual(packages);
  expect(second.packages).toEqual(first.packages);
  expect(second.cells.map(({ key }) => key)).toEqual(first.cells.map(({ key }) => key));
});

test("only what has changed is built: a cell's key is that of its patches, options and module", async () => {
  world.package("fix").package("other");
  const first = await world.run();
  world.forgetCalls();
  writeFileSync(join(world.folder, "other.patch"), `${readFileSync(join(world.folder, "other.patch"), "utf8")}\n`);
  await world.run();
  expect(new Set(world.calls())).toEqual(new Set(world.kernels.map((kernel) => `build ${kernel} kpatch-other`)));
  world.forgetCalls();
  const third = await world.run({ words: ["--no-replace"] });
  expect(world.calls()).toHaveLength(6);
  expect(third.cells[0]?.key).not.toBe(first.cells[0]?.key);
});

test("a cell that is refused is done, and does not hold the others of its package", async () => {
  world.package("fix", "refuse 6.1.0-2-amd64");
  const result = await world.run();
  expect(Object.values(states(result))).toEqual(["built", "refused", "built"]);
  expect(result.cells[1]).toMatchObject({ codes: ["INIT_CODE"], attempts: 1, module: null });
  expect(result.packages).toMatchObject([{ state: "packaged", kernels: ["6.1.0-1-amd64", "6.12.1-amd64"] }]);
  expect(result.outcome).toBe("complete");
  expect(exitCodeOf(result)).toBe(4);
});

test("a patch that does not apply is a result too, without the place where it was tried", async () => {
  world.package("fix", "reject", ["newest"]);
  const { cells, packages } = await world.run();
  expect(cells).toMatchObject([{ state: "refused", codes: ["PATCH_DOES_NOT_APPLY"], attempts: 1 }]);
  expect(cells[0]?.refusals[0]?.why).toBe("in fix.patch");
  expect(packages).toMatchObject([{ state: "empty", file: null }]);
});

test("a kernel that the patch changes nothing of has no module", async () => {
  world.package("fix", "same", ["newest"]);
  const result = await world.run();
  expect(states(result)).toEqual({ "kpatch-module-fix/6.12.1-amd64": "unchanged" });
  expect(exitCodeOf(result)).toBe(3);
});

test("a failure of the machine is tried three more times, and then shown with its log", async () => {
  world.package("fix", "fail 3", ["newest"]).package("worse", "fail 9", ["newest"]);
  const result = await world.run();
  expect(states(result)).toEqual({
    "kpatch-module-fix/6.12.1-amd64": "built",
    "kpatch-module-worse/6.12.1-amd64": "failed",
  });
  expect(result.cells[1]).toMatchObject({ attempts: 4, codes: ["NO_SPACE"] });
  expect(readFileSync(join(world.output, "logs/kpatch-module-worse/6.12.1-amd64.log"), "utf8")).toContain(
    "the disk is tired",
  );
  expect(result.packages).toMatchObject([{ state: "packaged" }, { state: "held", file: null }]);
  expect([result.outcome, exitCodeOf(result)]).toEqual(["incomplete", 1]);
});

test("a build that is killed says so", async () => {
  world.package("fix", "crash", ["newest"]);
  const { cells } = await world.run();
  expect(cells).toMatchObject([{ state: "failed", codes: ["CHILD_FAILED"] }]);
  expect(cells[0]?.problem?.message).toBe("kmend build was killed without a result");
});

test("what fails its trial is in no package, and is tried again the next time", async () => {
  world.package("fix", "", ["newest"]);
  world.failTrials();
  const failed = await world.run({ tries: true });
  expect(failed.cells).toMatchObject([{ state: "failed", trial: "failed", codes: ["TRIAL_FAILED"], attempts: 1 }]);
  expect(failed.packages).toMatchObject([{ state: "empty" }]);
  expect(exitCodeOf(failed)).toBe(6);
  rmSync(join(world.folder, "fail-trials"));
  world.forgetCalls();
  const passed = await world.run({ tries: true });
  expect(passed.cells).toMatchObject([{ state: "built", trial: "passed" }]);
  expect(world.calls()).toHaveLength(1);
});

test("two builds of a cell that differ are found", async () => {
  world.package("fix", "", ["newest"]).package("odd", "random", ["newest"]);
  const result = await world.run({ verifies: true });
  expect(result.cells).toMatchObject([
    { state: "built", verified: true },
    { state: "failed", codes: ["NOT_REPRODUCIBLE"] },
  ]);
  expect(result.packages).toMatchObject([{ state: "packaged" }, { state: "held" }]);
  expect(exitCodeOf(result)).toBe(6);
});

test("two builds of a cell are made and compared, whichever begins when the other has ended", async () => {
  world.package("fix", "", ["newest"]).package("odd", "random", ["newest"]);
  for (const later of ["build", "verify"]) {
    const result = await world.run({
      verifies: true,
      engine: async (store) => {
        const services = { store, program: world.program, jobs: 1, facts: world.facts() };
        const inner = embeddedEngine({ services, lanes: 2, retries: { retries: 0, backoffMilliseconds: 1 } });
        const ended = new Map<string, () => void>();
        const first = new Map<string, Promise<void>>();
        const of = (key: string): Promise<void> => {
          const known = first.get(key) ?? new Promise<void>((resolve) => ended.set(key, resolve));
          first.set(key, known);
          return known;
        };
        return {
          ...{ close: () => inner.close(), depth: () => inner.depth() },
          run: async (request) => {
            const { kind, key } = request.step;
            if (kind !== "build" && kind !== "verify") return inner.run(request);
            const other = of(key);
            if (kind === later) await other;
            return inner.run(request).finally(() => ended.get(key)?.());
          },
        };
      },
    });
    expect(result.cells, later).toMatchObject([
      { state: "built", verified: true },
      { state: "failed", codes: ["NOT_REPRODUCIBLE"] },
    ]);
    expect(world.calls()).toHaveLength(4);
    world.forgetCalls();
    rmSync(join(world.output, "store"), { recursive: true });
  }
});

test("nothing in the store tells when and how often it was made", async () => {
  world.package("fix").package("no", "refuse");
  const digests = async (): Promise<Map<string, string>> => {
    await world.run();
    const store = join(world.output, "store");
    const files = readdirSync(store, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const found = files
      .filter(({ name }) => name !== "store.json")
      .map(({ parentPath, name }) => join(parentPath, name));
    return new Map(found.sort().map((path) => [path, readFileSync(path, "latin1")]));
  };
  const first = await digests();
  rmSync(world.output, { recursive: true });
  expect(await digests()).toEqual(first);
  expect(first.size).toBeGreaterThan(10);
});

test("kernels that are not there are all reported before anything is done", async () => {
  world.package("fix", "", ["6.1.0-1-amd64", "5.10.*", "6.1.0-9"]);
  const error = await world.run().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(KmendError);
  expect(error).toMatchObject({ code: "MATRIX_KERNELS", exitCode: 2 });
  expect((error as KmendError).why).toBe("5.10.* matches none of the 3 kernels on offer\nthere is no kernel 6.1.0-9");
  expect(world.calls()).toEqual([]);
});

test("a folder with other things is no store", async () => {
  world.package("fix");
  await expect(world.run({ store: world.folder })).rejects.toMatchObject({ code: "STORE_NOT_EMPTY", exitCode: 2 });
});

test("a damaged object is never used", async () => {
  world.package("fix", "", ["newest"]);
  const { cells } = await world.run();
  const digest = cells[0]?.module?.sha256 as string;
  const path = join(world.output, "store/objects", digest.slice(0, 2), digest);
  rmSync(path);
  writeFileSync(path, "other");
  await expect(world.run()).rejects.toMatchObject({ code: "STORE_DAMAGED" });
});
