import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cellFile } from "../../src/matrix/page/page.tsx";
import { keepPages } from "../../src/matrix/page/write-page.ts";
import { StandIn } from "../matrix/stand-in.ts";
import { inspectPage, type PageFindings, pictures, startBrowser } from "./report-browser.ts";

const releases = Array.from({ length: 4 }, (_, index) => `6.1.0-${index + 1}-amd64`);
const world = new StandIn(releases);
const folder = join(world.folder, "fleet");
let browser: Browser;

beforeAll(async () => {
  for (let number = 1; number < 5; number++)
    world.package(`netfilter-and-more-${number}`, number === 3 ? "reject" : "");
  world
    .package("refused", "refuse 6.1.0-3-amd64", ["all"], "  cves: [CVE-2026-12345]")
    .package("worn", "fail 9", ["newest"]);
  await world.run({ onStart: (run, store) => keepPages(folder, run.state, store) });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
  world.remove();
});

function expectSound({ messages, requests, violations, overflow }: PageFindings): void {
  expect({ messages, requests, violations }).toEqual({ messages: [], requests: [], violations: [] });
  expect(overflow.every((pixels) => pixels <= 0)).toBe(true);
}

describe("pages of a matrix in a browser", () => {
  test("the grid is sound in both schemes, from the width of a phone on", async () => {
    const found = await inspectPage(browser, join(folder, "index.html"));
    expectSound(found);
    for (const release of releases) expect(found.text).toContain(release);
    expect(found.text).toContain("CVE-2026-12345");
    expect(readdirSync(pictures)).toContain("index-360-dark.png");
  });

  test.each(["kpatch-module-refused/6.1.0-3-amd64", "kpatch-module-worn/6.1.0-4-amd64"])(
    "so is the page of %s",
    async (id) => {
      const found = await inspectPage(browser, join(folder, "cells", cellFile(id)));
      expectSound(found);
      expect(found.text).toContain(id.includes("refused") ? "INIT_CODE" : "the disk is tired");
    },
  );

  test("filters hide what is something else, by keyboard too, and cells lead to their pages", async () => {
    const page = await browser.newPage();
    await page.goto(pathToFileURL(join(folder, "index.html")).href);
    const shown = (): Promise<string[]> =>
      page.evaluate(
        "[...document.querySelectorAll('td[data-state]')].filter((cell) => getComputedStyle(cell).opacity === '1').map((cell) => cell.dataset.codes || cell.dataset.state)",
      );
    const all = await shown();
    expect(all).toHaveLength(5 * 4 + 1);
    await page.focus("select[name=code]");
    await page.keyboard.type("INIT");
    expect(new Set(await shown())).toEqual(new Set(["INIT_CODE"]));
    await page.selectOption("select[name=code]", "");
    await page.selectOption("select[name=state]", "failed");
    expect(await shown()).toEqual(["NO_SPACE"]);
    await page.click("td[data-state=failed] a");
    await page.waitForURL(/cells\//);
    expect(await page.title()).toContain("kpatch-module-worn/6.1.0-4-amd64");
    await page.close();
  });
});
