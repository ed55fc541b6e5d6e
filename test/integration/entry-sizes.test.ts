import { expect, test } from "vitest";
import { tableStructs } from "../../src/diff/special-sections/special-sections.ts";
import { entrySizesOf } from "../../src/kernel/modules/entry-sizes.ts";
import { stockKernel } from "./stock-kernel.ts";

test("sizes of table entries are those of the kernel's own types", async () => {
  const { kernel } = await stockKernel();
  const sizes = await entrySizesOf(kernel, tableStructs);
  // Relative entries of x86-64: three 32-bit words, two and a 64-bit key, two.
  expect(sizes).toMatchObject({ __bug_table: 12, __ex_table: 12, __jump_table: 16, ".static_call_sites": 8 });
  expect(sizes[".altinstructions"]).toBeGreaterThanOrEqual(12);
});
