import { chmodSync, copyFileSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { kmend } from "../cli/captured.ts";
import { all, build, type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;

beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

const use = replace("\tctx->count -= *cnt;", "\tctx->count -= *cnt + ctx->kmend_limit;");
/** `struct eventfd_ctx` is defined in its C file, and each open event descriptor has one. */
const grown = all(replace("\tint id;\n", "\tint id;\n\tunsigned int kmend_limit;\n"), use);
const padded = all(replace("\tstruct kref kref;\n", "\tstruct kref kref;\n\tunsigned int kmend_limit;\n"), use);

function patch(edit: Edit, path = "fs/eventfd.c"): string {
  return scratch.patch(stock.tree.path, { [path]: edit });
}

describe("a struct of live objects", () => {
  test.each([
    ["grows", grown, "its size changes from 48 to 56 bytes"],
    ["gets a member in its padding", padded, "kmend_limit is new at offset 4, in padding"],
  ])("%s and is refused", async (_, edit, difference) => {
    const { exitCode, result } = await build([patch(edit)], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals).toHaveLength(1);
    const [refusal] = result.refusals;
    expect(refusal).toMatchObject({ code: "LAYOUT_CHANGED", what: "struct eventfd_ctx", where: "fs/eventfd.c" });
    expect(refusal?.why).toContain(difference);
    expect(refusal?.why).toMatch(/\| +(48|4) {2}unsigned int kmend_limit;/);
    expect(refusal?.hint).toContain("klp_shadow_get_or_alloc(obj, ID, ");
    expect(refusal?.hint).toContain("--allow-layout eventfd_ctx");
    expect(result.milliseconds["layout"]).toBeGreaterThan(0);
  });

  test("is accepted by name, and the module says so", async () => {
    const output = scratch.folder();
    const { exitCode, result } = await build([patch(grown)], output, "--allow-layout", "eventfd_ctx");
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.notes.join("\n")).toContain("struct eventfd_ctx: accepted as --allow-layout says");
    const module = new ElfReader(readFileSync(result.module?.path ?? ""));
    expect(readModinfo(module).get("kmend.allow-layout")).toEqual(["eventfd_ctx"]);
    expect(readManifest(module)?.allowedLayouts).toEqual(["eventfd_ctx"]);
  });

  test("in a header that many units include is refused before those are compiled", async () => {
    const change = scratch.patch(stock.tree.path, {
      "fs/proc/internal.h": replace(
        "struct proc_dir_entry {\n",
        "struct proc_dir_entry {\n\tunsigned long kmend_limit;\n",
      ),
      "fs/proc/inode.c": replace(
        /^int use_pde\b|^static inline int use_pde\b/m,
        (matched) =>
          `static inline bool kmend_limited(const struct proc_dir_entry *pde) { return pde->kmend_limit; }\n${matched}`,
      ),
      "fs/proc/generic.c": replace(
        /^void proc_remove\([^{]*\{\n/m,
        (matched) => `${matched}\tif (de && de->kmend_limit)\n\t\treturn;\n`,
      ),
    });
    const { exitCode, result } = await build([change], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toContain(
      "LAYOUT_CHANGED struct proc_dir_entry",
    );
    expect(result.units.map(({ path }) => path).sort()).toEqual(["fs/proc/generic.c", "fs/proc/inode.c"]);
    expect(result.notes.join("\n")).toMatch(
      /fs\/proc\/internal\.h: \d+ source files may include it; they were not looked at/,
    );
  });

  test("of a module is compared with the module's own types", async () => {
    const path = "drivers/block/zram/zram_drv.";
    const change = scratch.patch(stock.tree.path, {
      [`${path}h`]: replace("struct zram_table_entry {\n", "struct zram_table_entry {\n\tunsigned long kmend_limit;\n"),
      [`${path}c`]: replace(
        "\tzram->limit_pages = PAGE_ALIGN(limit) >> PAGE_SHIFT;",
        "\tzram->limit_pages = PAGE_ALIGN(limit + 1) >> PAGE_SHIFT;",
      ),
    });
    const { exitCode, result } = await build([change], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toContain(
      "LAYOUT_CHANGED struct zram_table_entry",
    );
  });
});

describe("a variable", () => {
  test("whose type changes is refused", async () => {
    const edit = all(
      replace("static DEFINE_IDA(eventfd_ida);", "static struct { void *first[2]; } eventfd_ida;"),
      replace(/ida_(simple_remove|free)\(&eventfd_ida,[^)]*\)/, "eventfd_ida.first[0] = NULL"),
      replace(/ida_(simple_get|alloc)\(&eventfd_ida,[^)]*\)/, "eventfd_ida.first[1] ? 1 : 0"),
    );
    const { exitCode, result } = await build([patch(edit)], scratch.folder());
    expect(exitCode).toBe(4);
    const refusal = result.refusals.find(({ code, what }) => code === "LAYOUT_CHANGED" && what === "eventfd_ida");
    expect(refusal).toMatchObject({ code: "LAYOUT_CHANGED", where: "fs/eventfd.c" });
    expect(refusal?.why).toContain(
      "the variable changes its type from `struct ida eventfd_ida` to `struct {…} eventfd_ida`",
    );
    expect(refusal?.hint).toContain("--allow-layout eventfd_ida");
  });
});

describe("type information of the kernel that is", () => {
  let image: string;
  beforeAll(() => {
    image = join(scratch.folder(), "vmlinux");
    copyFileSync(stock.kernel.image.unpacked.path, image);
    chmodSync(image, 0o644);
  });

  async function refusedWith(place: number, bytes: Uint8Array): Promise<string> {
    const file = openSync(image, "r+");
    const before = new Uint8Array(bytes.length);
    readSync(file, before, 0, before.length, place);
    writeSync(file, bytes, 0, bytes.length, place);
    const words = ["build", patch(grown), "--kernel", stock.kernel.release, "--image", image, "-o", scratch.folder()];
    const { exitCode, stderr } = await kmend(...words);
    writeSync(file, before, 0, before.length, place);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("hint:");
    expect(stderr).toContain(image);
    return (stderr.match(/^error\[\w+\]/gm) ?? []).join();
  }

  test("damaged", async () => {
    const section = stock.kernel.image.sections.find(({ name }) => name === ".BTF");
    expect(await refusedWith(section?.offset ?? 0, new Uint8Array(8))).toBe("error[BTF_FORMAT]");
  });

  test("missing, where the configuration promises it", async () => {
    const names = readFileSync(image).lastIndexOf("\0.BTF\0");
    expect(names).toBeGreaterThan(0);
    expect(await refusedWith(names + 1, Buffer.from(".XTF"))).toBe("error[BTF_MISSING]");
  });
});

test("a change of function bodies does not ask for types", async () => {
  const edit = replace("\tctx->count -= *cnt;", "\tctx->count -= *cnt + 0 * ctx->flags + (ctx->count == 7);");
  const { exitCode, result } = await build([patch(edit)], scratch.folder());
  expect(exitCode).toBe(0);
  expect(result.milliseconds["layout"]).toBeUndefined();
});

test("the kernel's own types are indexed within the budget", () => {
  const data = stock.kernel.image.btf as Uint8Array;
  const started = performance.now();
  const btf = new Btf(data, "vmlinux");
  const [task] = btf.find(BtfKind.struct, "task_struct");
  const elapsed = performance.now() - started;
  expect(btf.members(task as number).map(({ name }) => name)).toContain("comm");
  for (let type = 1; type < btf.count; type++) btf.name(type);
  expect(elapsed).toBeLessThan(2000);
});
