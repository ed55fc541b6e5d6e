import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { all, build, type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;

beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

function patch(edits: Record<string, Edit>): string {
  return scratch.patch(stock.tree.path, edits);
}

const driver = "drivers/block/zram/zram_drv.c";
const header = "drivers/block/zram/zram_drv.h";
/** Counts how often the limit was set, and shows it. */
const counted = all(
  replace("\tzram->limit_pages = PAGE_ALIGN(limit) >> PAGE_SHIFT;\n", (line) => `${line}\tzram->limit_sets++;\n`),
  replace("\tval = init_done(zram);\n", "\tval = init_done(zram) + 10 * zram->limit_sets;\n"),
);

describe("a new member in padding", () => {
  const inPadding = replace(
    "\tbool claim; /* Protected by disk->open_mutex */\n",
    (line) => `${line}\tunsigned int limit_sets;\n`,
  );

  test("is accepted where every object is made of zeros", async () => {
    const { exitCode, result } = await build([patch({ [header]: inPadding, [driver]: counted })], scratch.folder());
    expect(result.refusals, result.notes.join("\n")).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.notes.join("\n")).toMatch(
      /struct zram: accepted: limit_sets at offset 356 lies in padding, which is zero in every object: all are made by kzalloc\(\) at drivers\/block\/zram\/zram_drv\.c:\d+, as the only unit that sees the type shows/,
    );
  });

  test("is refused where objects are not cleared, with the place", async () => {
    const edit = all(
      replace("\tstruct kref kref;\n", "\tstruct kref kref;\n\tunsigned int kmend_limit;\n"),
      replace("\tctx->count -= *cnt;", "\tctx->count -= *cnt + ctx->kmend_limit;"),
    );
    const { exitCode, result } = await build([patch({ "fs/eventfd.c": edit })], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["LAYOUT_CHANGED struct eventfd_ctx"]);
    expect(result.notes.join("\n")).toMatch(
      /struct eventfd_ctx: its new member fits into padding, but kmalloc\(\) creates objects .* \(fs\/eventfd\.c:\d+\)/,
    );
  });
});
