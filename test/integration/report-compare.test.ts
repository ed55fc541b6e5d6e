import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { runCommandLine } from "../../src/cli/run-command-line.ts";
import type { ModuleComparison } from "../../src/report/compare-modules.ts";
import { kmend } from "../cli/captured.ts";
import { all, build, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();

afterAll(() => scratch.remove());

test("a debug message that stands at another place of the successor is no difference", async () => {
  const { tree } = await stockKernel();
  const message = replace(
    "\treturn 0;\n}\n\nstatic int __init",
    '\tpr_debug("told\\n");\n\treturn 0;\n}\n\nstatic int __init',
  );
  const edits = { "fs/proc/version.c": message };
  const further = { ...edits, "fs/proc/devices.c": replace("Character devices:", "Character devices at hand:") };
  const made: string[] = [];
  for (const one of [edits, further]) {
    const { result } = await build([scratch.patch(tree.path, one)], scratch.folder());
    made.push(result.module?.path ?? "");
  }
  const { stdout } = await kmend("report", "--compare", ...made, "--json");
  const { functions, sections, remarks, modinfo } = JSON.parse(stdout) as ModuleComparison;
  expect(modinfo).toContainEqual({ what: "license=GPL", before: true, after: true });
  expect(modinfo.filter(({ before, after }) => before !== after).map(({ what }) => what)).toEqual([
    expect.stringMatching(/^kmend\.patch=/),
    expect.stringMatching(/^kmend\.patch=/),
  ]);
  expect(functions.map(({ name, kind }) => [name, kind])).toEqual([
    ["devinfo_show", "added"],
    ["version_proc_show", "same"],
  ]);
  expect(sections.map(({ name }) => name)).toContain("__dyndbg");
  expect(remarks).toEqual([]);
  // An interrupt that comes while it compares leaves no page.
  const interrupt = new AbortController();
  const page = join(scratch.folder(), "page.html");
  const words = ["report", "--compare", ...made, "-o", page];
  const silent = { write: () => interrupt.abort() };
  const running = runCommandLine(words, { stdout: silent, stderr: silent, signal: interrupt.signal });
  setImmediate(() => interrupt.abort());
  expect(await running).toBe(130);
  expect(existsSync(page)).toBe(false);
});

describe("modules that differ in what is not an instruction", () => {
  const compared = async (before: readonly string[], after: readonly string[]): Promise<ModuleComparison> => {
    const { tree } = await stockKernel();
    const made: string[] = [];
    for (const [index, [statement = "", top = ""]] of [before, after].entries()) {
      const edits = {
        "fs/proc/version.c": all(
          replace("\treturn 0;\n}\n\nstatic int __init", `${statement}\n\treturn 0;\n}\n\nstatic int __init`),
          replace("static int version_proc_show(", `${top}\nstatic int version_proc_show(`),
        ),
        // Another function that differs does not hide it.
        "fs/proc/devices.c": replace("Character devices:", `Character devices ${index}:`),
      };
      const { result } = await build([scratch.patch(tree.path, edits, `side-${index}`)], scratch.folder());
      made.push(result.module?.path ?? "");
    }
    return JSON.parse((await kmend("report", "--compare", ...made, "--json")).stdout) as ModuleComparison;
  };

  test("the key of a static branch changes the function", async () => {
    const side = (key: string) => [
      `\tif (static_branch_unlikely(&${key}))\n\t\tseq_puts(m, "key\\n");`,
      "#include <linux/memcontrol.h>",
    ];
    const { functions } = await compared(side("memcg_kmem_enabled_key"), side("memcg_sockets_enabled_key"));
    expect(functions.map(({ name, kind, tables }) => [name, kind, tables])).toEqual([
      ["devinfo_show", "changed", []],
      ["version_proc_show", "changed", ["__jump_table"]],
    ]);
  });

  test("a callback that is registered otherwise is told of", async () => {
    const side = (kind: string) => [
      "\tseq_putc(m, '!');",
      `#include <linux/livepatch.h>\n#include <livepatch_helpers.h>\nstatic void hello(struct klp_object *obj)\n{\n\tpr_info("hello\\n");\n}\n${kind}(hello);`,
    ];
    const { functions, callbacks, remarks } = await compared(
      side("KLP_POST_PATCH_CALLBACK"),
      side("KLP_POST_UNPATCH_CALLBACK"),
    );
    expect(functions.find(({ name }) => name === "hello")?.kind).toBe("same");
    expect(callbacks).toEqual([
      { what: "vmlinux: post_patch hello", before: true, after: false },
      { what: "vmlinux: post_unpatch hello", before: false, after: true },
    ]);
    expect(remarks.join()).toContain("callbacks");
  });
});
