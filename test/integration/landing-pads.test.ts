import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { type Built, build, newestOf612, preparedKernel, replace, Scratch } from "./stock-kernel.ts";

const scratch = new Scratch();
let release: string;
let tree: string;

beforeAll(async () => {
  release = await newestOf612();
  tree = (await preparedKernel(release)).tree.path;
});
afterAll(() => scratch.remove());

/** Builds a patch that calls a function through a pointer in `fs/proc/loadavg.c`. */
function throughPointer(name: string, declaration: string, more: Parameters<Scratch["patch"]>[1] = {}): Promise<Built> {
  const patch = scratch.patch(tree, {
    "fs/proc/loadavg.c": (text) =>
      replace(
        "\tunsigned long avnrun[3];\n",
        `\tunsigned long avnrun[3];\n\t${declaration}(*volatile count)(void) = ${name};\n`,
      )(replace("nr_running(), nr_threads", "count(), nr_threads")(text) ?? ""),
    ...more,
  });
  return build([patch], scratch.folder(), "--kernel", release);
}

test("the address of a function whose landing pad the kernel removes is refused", async () => {
  const { exitCode, result } = await throughPointer("nr_running", "unsigned int ");
  expect(exitCode).toBe(4);
  expect(result.refusals).toMatchObject([
    { code: "ENTRY_SEALED", function: "loadavg_proc_show", why: expect.stringContaining("nr_running") },
  ]);
});

test("a new function that another unit calls through a pointer keeps its landing pad", async () => {
  const { result } = await throughPointer("devinfo_extra", "extern int devinfo_extra(void);\n\tint ", {
    "fs/proc/devices.c": (text) => `${text}\nint devinfo_extra(void)\n{\n\treturn jiffies & 7;\n}\n`,
  });
  expect(result.refusals).toEqual([]);
  const module = new ElfReader(readFileSync(result.module?.path ?? ""));
  expect(module.sections.map(({ name }) => name).filter((name) => name.includes("endbr"))).toEqual([]);
  const added = module.symbols.find(({ name }) => name === "devinfo_extra");
  const text = module.sections[added?.section ?? 0]?.data.subarray(added?.value, (added?.value ?? 0) + 4);
  expect(Buffer.from(text ?? []).toString("hex")).toBe("f30f1efa");
});
