import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { Warning } from "../../src/build/warnings/find-warnings.ts";
import { all, build, type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
let result: BuildResult;

/** Inserts lines at the start of a function's body. */
function enter(head: RegExp, lines: string): Edit {
  return replace(new RegExp(`${head.source}[^{;]*\\{\\n`, "m"), (matched) => `${matched}${lines}`);
}

const check = "\tif (unlikely(system_state > SYSTEM_RUNNING))\n\t\tdump_stack();\n";

beforeAll(async () => {
  stock = await stockKernel();
  const patch = scratch.patch(stock.tree.path, {
    "net/core/dev.c": enter(/^static int napi_threaded_poll\(void \*data\)/, check),
    "drivers/scsi/scsi_error.c": enter(/^int scsi_error_handler\(/, check),
    "kernel/sched/core.c": enter(/^asmlinkage __visible void __sched schedule\(/, check),
    "kernel/softirq.c": enter(/^void irq_enter_rcu\(/, check),
    "drivers/block/zram/zram_drv.c": enter(/^static ssize_t comp_algorithm_show\(/, check),
    "fs/char_dev.c": all(
      // Inlined in all its callers.
      replace(
        "return major % CHRDEV_MAJOR_HASH_SIZE;",
        "return (major ^ 0) % CHRDEV_MAJOR_HASH_SIZE + (major == 77777);",
      ),
      replace(/cd->name\);\n\t\}\n\tmutex_unlock\(&chrdevs_lock\);\n/, "cd->name);\n\t}\n"),
      enter(
        /^void cdev_put\(/,
        "\tstatic int kmend_gets;\n\n\tmutex_lock(&chrdevs_lock);\n\tkmend_gets++;\n\tmutex_unlock(&chrdevs_lock);\n",
      ),
    ),
  });
  const built = await build([patch], scratch.folder());
  expect(built.exitCode, `${JSON.stringify(built.result.refusals, null, 1)}\n${built.stderr}`).toBe(0);
  result = built.result;
});
afterAll(() => scratch.remove());

function warned(code: Warning["code"], name: string): Warning {
  const found = result.warnings.find((warning) => warning.code === code && warning.function === name);
  if (found === undefined) throw new Error(`no ${code} for ${name} in ${JSON.stringify(result.warnings, null, 1)}`);
  expect(found.hint).not.toBe("");
  return found;
}

test("main loops of kernel threads", () => {
  expect(warned("ALWAYS_ON_STACK", "napi_threaded_poll")).toMatchObject({
    unit: "net/core/dev.c",
    why: expect.stringMatching(/^\w+ starts a kernel thread with it$/),
  });
  expect(warned("ALWAYS_ON_STACK", "scsi_error_handler").why).toContain("its kernel thread should stop");
});

test("the scheduler", () => {
  expect(warned("ALWAYS_ON_STACK", "schedule").why).toBe("every sleeping task is in it");
});

test("functions that entry code calls", () => {
  expect(warned("NOTRACE_CALLER", "irq_enter_rcu").why).toMatch(
    /^\w+.* call it, and are code that ftrace leaves alone/,
  );
  // Entry code of some versions calls schedule() itself.
  const others = result.warnings.filter(
    ({ code, function: name }) => code === "NOTRACE_CALLER" && !/^(irq_enter_rcu|schedule)$/.test(name),
  );
  expect(others).toEqual([]);
});

test("locks that are newly taken or no longer released", () => {
  expect(warned("LOCKS_CHANGED", "cdev_put").why).toContain("newly taken: mutex_lock of chrdevs_lock");
  expect(warned("LOCKS_CHANGED", "chrdev_show").why).toContain("no longer released: mutex_unlock of chrdevs_lock");
});

test("new variables, and old ones that the new code begins to use", () => {
  expect(warned("NEW_STATE", "kmend_gets").why).toContain("initial value");
  expect(warned("OLD_STATE", "chrdevs_lock").why).toMatch(/cdev_put did not use this variable before/);
  expect(result.warnings.filter(({ code }) => code === "OLD_STATE")).toHaveLength(1);
});

test("functions that are inlined elsewhere", () => {
  const inlined = /^the compiler has inlined it in .*__unregister_chrdev_region.*, which (is|are) replaced with it$/;
  expect(warned("INLINED", "major_to_index").why).toMatch(inlined);
  expect(result.warnings.some((warning) => warning.code === "INLINED" && warning.function === "chrdev_show")).toBe(
    false,
  );
});

test("modules that cannot come again under a kernel before 6.3", () => {
  const [major, minor] = result.kernel.release.split(".").map(Number) as [number, number];
  const reloads = result.warnings.filter(({ code }) => code === "MODULE_RELOAD");
  if (major > 6 || (major === 6 && minor >= 3)) expect(reloads).toEqual([]);
  else expect(warned("MODULE_RELOAD", "zram").hint).toContain("-8");
});
