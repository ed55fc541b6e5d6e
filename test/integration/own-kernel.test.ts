import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build } from "../../src/build/build.ts";
import type { BuildResult } from "../../src/build/build-types.ts";
import { sha256 } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { replace, Scratch } from "./stock-kernel.ts";
import { type TinyKernel, tinyKernel } from "./tiny-kernel.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const long = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
const cache = join(scratch.path, "cache");
const before = process.env["KMEND_CACHE"];
let tiny: TinyKernel;

/** A whole kernel is compiled, without modules but one: some minutes on two cores. */
describe.skipIf(!long)("a tree of the user's, of which there is no image at all", { timeout: 3_600_000 }, () => {
  beforeAll(async () => {
    tiny = await tinyKernel(scratch.path);
    process.env["KMEND_CACHE"] = cache;
  });
  afterAll(() => {
    if (before === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = before;
    scratch.remove();
  });

  const fingerprint = (): string =>
    sha256(execFileSync("find", [tiny.tree, "-printf", "%P %s %m %T@ %C@ %l\n"], { maxBuffer: 1 << 28 }));
  const source = (): string[] => ["--source", tiny.tree, "--config", tiny.config];
  /** What the cache holds of kernels that were built, by state of the source. */
  const images = (): string[][] => {
    const trees = join(cache, "trees");
    const folders = readdirSync(trees).map((name) => join(trees, name, "images"));
    return folders.flatMap((at) => readdirSync(at).map((state) => readdirSync(join(at, state))));
  };

  test("a build that is interrupted leaves nothing half done", async () => {
    const controller = new AbortController();
    const progress = new (class extends SilentProgress {
      override async phase<Result>(
        name: string,
        title: string,
        work: (status: (text: string) => void) => Promise<Result>,
      ): Promise<Result> {
        return super.phase(name, title, () =>
          work((text) => {
            if (Number(/(\d+) files compiled/.exec(text)?.[1] ?? 0) > 50) controller.abort();
          }),
        );
      }
    })();
    const { tree: path, config } = tiny;
    const request = { patches: [example], source: { path, config }, output: scratch.folder(), progress };
    await expect(build({ ...request, signal: controller.signal })).rejects.toBeDefined();
    expect(controller.signal.aborted).toBe(true);
    expect(progress.notes.join()).toContain("the whole kernel is compiled, once");
    expect(images().map((names) => names.sort())).toEqual([["image.guard", "image.log"]]);
  });

  test("is compiled once, and the patch is proven against it and works in it; the tree is not touched", async () => {
    const state = fingerprint();
    const words = ["--probe", "grep -i memfree /proc/meminfo | cut -d: -f1", "--json"];
    const first = await kmend("try", example, ...source(), ...words);
    expect(first.exitCode, first.stderr).toBe(0);
    expect(first.stderr).toContain("note: there is no image of this kernel");
    const { verdict, kernel, probes } = JSON.parse(first.stdout) as TryResult;
    expect({ verdict, kernel }).toEqual({ verdict: "passed", kernel: expect.stringMatching(/-tiny$/) });
    expect(probes.map(({ before: old, loaded, after }) => [old, loaded, after])).toEqual([
      ["MemFree", "MemFREE", "MemFree"],
    ]);
    expect(fingerprint()).toBe(state);
    expect(images().flat()).toContain("result");
    expect(images().flat()).not.toContain("tree");
  });

  test("later builds take the same one, for its module as well", async () => {
    const patch = scratch.patch(tiny.tree, {
      "fs/binfmt_misc.c": replace('"enabled\\n" : "disabled\\n"', '"ENABLED\\n" : "disabled\\n"'),
    });
    const { exitCode, stdout, stderr } = await kmend(
      "build",
      patch,
      ...source(),
      "--json",
      "--output",
      scratch.folder(),
    );
    expect(exitCode, stderr).toBe(0);
    const result = JSON.parse(stdout) as BuildResult;
    expect(result.milliseconds).not.toHaveProperty("build-image");
    expect(result.functions.map(({ name, object, proven }) => [name, object, proven])).toEqual([
      ["bm_status_read", "binfmt_misc", true],
    ]);
  });

  test("a configuration that the image was not built with is told by what the image says of it", async () => {
    const config = scratch.file(
      "other.config",
      readFileSync(tiny.config, "utf8").replace("CONFIG_EPOLL=y", "# CONFIG_EPOLL is not set"),
    );
    const [image = ""] = execFileSync("find", [cache, "-name", "bzImage"], { encoding: "utf8" }).split("\n");
    const symvers = join(image, "../Module.symvers");
    const words = ["--source", tiny.tree, "--image", image, "--symvers", symvers, "--output", scratch.folder()];
    const { exitCode, stderr } = await kmend("build", example, ...words, "--config", config);
    expect(exitCode, stderr).toBe(2);
    expect(stderr).toContain("IMAGE_OF_OTHER_CONFIG");
    expect(stderr).toContain("the kernel says CONFIG_EPOLL=y, the configuration that CONFIG_EPOLL is not set");
    const right = await kmend("build", example, ...words, "--config", tiny.config);
    expect(right.exitCode, right.stderr).toBe(0);
  });

  test("a configuration without live patching, and a source that does not compile", async () => {
    const config = scratch.file("plain.config", readFileSync(tiny.config, "utf8").replace("CONFIG_LIVEPATCH=y", ""));
    const words = ["--source", tiny.tree, "--output", scratch.folder()];
    const plain = await kmend("build", example, ...words, "--config", config);
    expect(plain.exitCode).toBe(2);
    expect(plain.stderr).toContain("CONFIG_WITHOUT_LIVEPATCH");
    const missing = await kmend("build", example, ...words);
    expect(missing.exitCode).toBe(2);
    expect(missing.stderr).toContain("CONFIG_MISSING");
    const bounds = join(tiny.tree, "kernel/bounds.c");
    cpSync(bounds, `${bounds}.before`, { preserveTimestamps: true });
    writeFileSync(bounds, "not C\n");
    const broken = await kmend("build", example, ...words, "--config", tiny.config);
    rmSync(bounds);
    cpSync(`${bounds}.before`, bounds, { preserveTimestamps: true });
    rmSync(`${bounds}.before`);
    expect(broken.exitCode).toBe(5);
    expect(broken.stderr).toContain("IMAGE_BUILD_FAILED");
    expect(broken.stderr).toContain("kernel/bounds.c:1:");
    const log = /where: (\S+)/.exec(broken.stderr)?.[1] ?? "";
    expect(existsSync(log)).toBe(true);
  });
});
