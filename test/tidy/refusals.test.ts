import { join } from "node:path";
import { expect, test } from "vitest";
import { hostRefusalTexts } from "../../src/host/kernel/host-refusals.ts";
import { refusalTexts } from "../../src/refusals/refusals.ts";
import { refusalPage } from "./refusal-page.ts";
import { read, root, typeScriptFiles } from "./source-files.ts";

test("the page about refusals is that of the table", async () => {
  await expect(refusalPage()).toMatchFileSnapshot(join(root, "docs", "refusals.md"));
});

test("every row of the table is used", () => {
  const sources = typeScriptFiles("src")
    .filter((path) => path !== "src/refusals/refusals.ts" && path !== "src/host/kernel/host-refusals.ts")
    .map(read)
    .join("\n");
  const codes = [...Object.keys(refusalTexts), ...Object.keys(hostRefusalTexts)];
  expect(codes.filter((code) => !sources.includes(`"${code}"`))).toEqual([]);
});
