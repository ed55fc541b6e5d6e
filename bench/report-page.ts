import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { formatTable } from "../src/cli/terminal/table.ts";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { requireInputFile } from "../src/support/input-file.ts";
import { median, seconds } from "./benchmark.ts";

const runs = 5;

async function requirePage(file: string): Promise<void> {
  try {
    await requireInputFile(file);
  } catch (error) {
    if (error instanceof KmendError) throw error;
    throw new KmendError({
      code: "USAGE",
      message: messageOf(error),
      hint: "give pages that kmend report has made",
      exitCode: ExitCode.usage,
      cause: error,
    });
  }
}

/** Opens pages of the review report in the archive's Chromium, and prints how long that takes until everything in them is there. */
export async function reportPages(files: readonly string[]): Promise<void> {
  if (files.length === 0) {
    throw new KmendError({
      code: "USAGE",
      message: "no page was given",
      hint: "npm run bench -- report FILE.html...; kmend report makes them",
      exitCode: ExitCode.usage,
    });
  }
  for (const file of files) await requirePage(file);
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const rows: string[][] = [["page", "size", "elements", "first", "median"]];
  for (const file of files) {
    const times: number[] = [];
    let elements = 0;
    for (let run = 0; run < runs; run++) {
      const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
      const started = performance.now();
      await page.goto(pathToFileURL(resolve(file)).href);
      times.push(performance.now() - started);
      elements = await page.evaluate<number>("document.getElementsByTagName('*').length");
      await page.close();
    }
    const { size } = await stat(file);
    const kilobytes = `${Math.ceil(size / 1024)} KiB`;
    rows.push([basename(file), kilobytes, String(elements), seconds(times[0] ?? 0), seconds(median(times))]);
  }
  await browser.close();
  for (const line of formatTable(rows)) console.log(line);
}
