import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { all, build, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;

beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

/** A function of zram that its two units share, and that takes one more argument with the patch. */
const declaration = "bool zcomp_available_algorithm(const char *comp";
const shared = {
  "drivers/block/zram/zcomp.h": replace(`${declaration});`, `${declaration}, bool strict);`),
  "drivers/block/zram/zcomp.c": all(
    replace(
      `${declaration})\n{\n`,
      `${declaration}, bool strict)\n{\n\tif (strict && sysfs_streq(comp, "lzo"))\n\t\treturn false;\n`,
    ),
    replace("!zcomp_available_algorithm(compress)", "!zcomp_available_algorithm(compress, false)"),
  ),
};
const caller = replace("!zcomp_available_algorithm(compressor)", "!zcomp_available_algorithm(compressor, true)");

describe("a changed prototype", () => {
  test("is accepted where only replaced functions call it, and all of them change over together", async () => {
    const patch = scratch.patch(stock.tree.path, { ...shared, "drivers/block/zram/zram_drv.c": caller });
    const { exitCode, result } = await build([patch], scratch.folder());
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    // zcomp_create() has a copy of it inlined.
    const evidence = "the patch replaces its only caller in zram (comp_algorithm_store), and nothing has its address";
    expect(result.notes).toContain(`zcomp_available_algorithm(): accepted: ${evidence}`);
    const names = result.functions.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["comp_algorithm_store", "zcomp_available_algorithm"]));

    const choose = `n=0; echo lzo >/sys/block/zram0/comp_algorithm 2>/dev/null || n=$?; echo "$n $(grep -o "\\[.*\\]" /sys/block/zram0/comp_algorithm)"`;
    const words = ["--kernel", stock.kernel.release, "--probe", choose, "--module", "zram", "--json"];
    const tried = await kmend("try", result.module?.path ?? "", ...words);
    expect(tried.exitCode, tried.stderr).toBe(0);
    const { verdict, probes } = JSON.parse(tried.stdout) as TryResult;
    expect(verdict).toBe("passed");
    expect(probes.map(({ before, loaded, after }) => [before, loaded, after])).toEqual([
      ["0 [lzo]", "1 [lzo]", "0 [lzo]"],
    ]);
  });

  test("of a function of the kernel is refused while a function that stays calls it", async () => {
    const patch = scratch.patch(stock.tree.path, {
      "fs/pnode.h": replace(
        "int propagate_mount_busy(struct mount *, int);",
        "int propagate_mount_busy(struct mount *, long);",
      ),
      "fs/pnode.c": replace(
        "int propagate_mount_busy(struct mount *mnt, int refcnt)\n{\n",
        "int propagate_mount_busy(struct mount *mnt, long refcnt)\n{\n\tif (refcnt > 1L << 40)\n\t\treturn 1;\n",
      ),
    });
    const { exitCode, result } = await build([patch], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => [code, what])).toEqual([
      ["LAYOUT_CHANGED", "propagate_mount_busy()"],
    ]);
    expect(result.notes.join("\n")).toMatch(
      /propagate_mount_busy\(\): (\w+) calls it, and the patch does not replace \1/,
    );
  });
});
