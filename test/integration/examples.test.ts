import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { type PatchModule, readPatchModule } from "./patch-module.ts";
import { build, functionNames, Scratch } from "./stock-kernel.ts";

const folder = fileURLToPath(new URL("../../examples", import.meta.url));
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** One row of examples/examples.json; `before` and `loaded` are patterns of what a probe prints. */
interface Example {
  readonly patch: string;
  readonly shows: string;
  readonly modules: readonly string[];
  readonly probes: readonly { readonly command: string; readonly before: string; readonly loaded: string }[];
}

const { examples } = JSON.parse(readFileSync(join(folder, "examples.json"), "utf8")) as { examples: Example[] };

/** What each example changes; `+` marks new functions. */
const expected: Readonly<Record<string, { functions: string[]; object: string; livepatchSymbols: RegExp[] }>> = {
  "meminfo-string.patch": {
    functions: ["meminfo_proc_show"],
    object: "vmlinux",
    livepatchSymbols: [/^vmlinux\.si_swapinfo,0$/, /^vmlinux\.vmalloc_nr_pages,0$/],
  },
  "cmdline-helper.patch": {
    functions: ["+show_without_console", "cmdline_proc_show"],
    object: "vmlinux",
    livepatchSymbols: [/^vmlinux\.saved_command_line,0$/],
  },
  "two-files.patch": {
    functions: ["+seq_put_host", "devinfo_show", "version_proc_show"],
    object: "vmlinux",
    livepatchSymbols: [/^vmlinux\.chrdev_show,0$/, /^vmlinux\.linux_proc_banner,0$/],
  },
  "zram-module.patch": { functions: ["initstate_show"], object: "zram", livepatchSymbols: [] },
};

test("every example is listed, and every listed one is expected here", () => {
  const patches = readdirSync(folder).filter((name) => name.endsWith(".patch"));
  expect(examples.map(({ patch }) => patch).sort()).toEqual(patches.sort());
  expect(Object.keys(expected).sort()).toEqual(patches.sort());
});

describe.each(examples)("$patch: $shows", (example) => {
  const { functions, object, livepatchSymbols } = expected[example.patch] as (typeof expected)[string];
  let result: BuildResult;
  let module: PatchModule;

  beforeAll(async () => {
    const built = await build([join(folder, example.patch)], scratch.folder());
    expect(built.exitCode, built.stderr).toBe(0);
    result = built.result;
    module = readPatchModule((result.module as NonNullable<BuildResult["module"]>).path);
  });

  test("exactly these functions change, and all are proven", () => {
    expect(result).toMatchObject({ schema: 1, outcome: "built", refusals: [] });
    expect(functionNames(result)).toEqual(functions);
    expect(result.functions.every(({ proven }) => proven)).toBe(true);
    expect(new Set(result.functions.map((entry) => entry.object))).toEqual(new Set([object]));
    const { kernel } = result;
    expect(kernel.buildId).toMatch(/^[0-9a-f]{40}$/);
    expect(result.milliseconds["total"]).toBeGreaterThan(0);
  });

  test("the module is what the kernel's loader asks for", () => {
    const name = `livepatch-${basename(example.patch, ".patch")}`;
    expect(result.module).toMatchObject({ name, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(module.info.get("livepatch")).toBe("Y");
    expect(module.info.get("name")).toBe(name.replaceAll("-", "_"));
    expect(module.info.get("vermagic")?.startsWith(`${result.kernel.release} `)).toBe(true);
    expect(module.functions).toEqual(expect.arrayContaining(functions.map((entry) => entry.replace("+", ""))));
    for (const pattern of livepatchSymbols) {
      expect(
        module.livepatchSymbols.some((symbol) => pattern.test(symbol)),
        `${pattern}`,
      ).toBe(true);
    }
    expect(module.livepatchSections.length > 0).toBe(module.livepatchSymbols.length > 0);
    expect(module.livepatchSections.every((section) => section.startsWith(".klp.rela.vmlinux."))).toBe(true);
    expect(module.imports).toContain("klp_enable_patch");
    expect(module.sizeOf("__mcount_loc")).toBeGreaterThanOrEqual(8 * functions.length);
    expect(module.sizeOf(".orc_unwind_ip") * 3).toBe(module.sizeOf(".orc_unwind") * 2);
    expect(module.sizeOf("__versions")).toBeGreaterThan(0);
  });

  test("it changes the running kernel and takes the change back", async () => {
    const { path } = result.module as NonNullable<BuildResult["module"]>;
    const words = [
      ...example.probes.flatMap(({ command }) => ["--probe", command]),
      ...example.modules.flatMap((required) => ["--module", required]),
    ];
    const tried = await kmend("try", path, "--json", ...words);
    const verdict = JSON.parse(tried.stdout) as TryResult;
    expect(verdict, tried.stderr).toMatchObject({ schema: 1, verdict: "passed", kernel: result.kernel.release });
    expect(tried.exitCode).toBe(0);
    expect(verdict.transitionMilliseconds).toBeGreaterThan(0);
    for (const [number, { command, before, loaded }] of example.probes.entries()) {
      const probe = verdict.probes[number];
      expect(probe?.command).toBe(command);
      expect(probe?.before).toMatch(new RegExp(before));
      expect(probe?.loaded).toMatch(new RegExp(loaded));
      expect(probe?.after).toBe(probe?.before);
    }
  });
});

test("the same inputs give the same bytes", async () => {
  const patch = join(folder, "two-files.patch");
  const first = await build([patch], scratch.folder());
  const second = await build([patch], scratch.folder(), "--jobs", "1");
  expect(second.result.module?.sha256).toBe(first.result.module?.sha256);
});

test("several patches become one module, in their order", async () => {
  const names = ["meminfo-string.patch", "cmdline-helper.patch", "zram-module.patch"];
  const { exitCode, result } = await build(
    names.map((name) => join(folder, name)),
    scratch.folder(),
    "--name",
    "livepatch-three",
  );
  expect(exitCode).toBe(0);
  const all = names.flatMap((name) => expected[name]?.functions ?? []);
  expect(functionNames(result)).toEqual(all.sort());
  const module = readPatchModule((result.module as NonNullable<BuildResult["module"]>).path);
  expect(module.info.get("name")).toBe("livepatch_three");
});
