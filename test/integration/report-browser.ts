import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { sectionIds } from "../../src/report/report-types.ts";

/** Where the pictures go that a person looks at. */
export const pictures = join(tmpdir(), "kmend-report-pictures");

export const schemes = ["light", "dark"] as const;
/** A phone, a tablet, a desk. */
export const widths = [360, 820, 1400] as const;

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What a browser found out about a page. */
export interface PageFindings {
  /** Messages of the console, failures of scripts, and violations of the page's policy. */
  readonly messages: readonly string[];
  /** Addresses that the page asked for besides itself. */
  readonly requests: readonly string[];
  /** Rules of axe-core that the page violates, with the first place of each, by scheme. */
  readonly violations: readonly string[];
  /** Pixels by which the page is wider than its window, by width. */
  readonly overflow: readonly number[];
  /** Sections that the keyboard has been in, in the order of its way. */
  readonly reached: readonly string[];
  /** Text of the page with all parts open. */
  readonly text: string;
}

/** A browser of the archive. It runs as root in tests, where its sandbox cannot be set up. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** Opens a page in each scheme and width, walks through it by keyboard, and keeps pictures. */
export async function inspectPage(browser: Browser, path: string): Promise<PageFindings> {
  const messages: string[] = [];
  const requests: string[] = [];
  const violations: string[] = [];
  const overflow: number[] = [];
  let [text, reached]: [string, string[]] = ["", []];
  const url = pathToFileURL(path).href;
  mkdirSync(pictures, { recursive: true });
  for (const colorScheme of schemes) {
    for (const width of widths) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      page.on("console", (message) => messages.push(`${message.type()}: ${message.text()}`));
      page.on("pageerror", (error) => messages.push(error.message));
      page.on("request", (request) => void (request.url() === url ? undefined : requests.push(request.url())));
      await page.goto(url);
      overflow.push(await page.evaluate("document.documentElement.scrollWidth - innerWidth"));
      const name = basename(path, ".html");
      // A picture of all of a long page has more pixels than an encoder takes.
      const height = await page.evaluate<number>("document.documentElement.scrollHeight");
      await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: height < 12_000 });
      if (width === 1400) {
        if (colorScheme === "light") reached = await walk(page);
        await openAll(page);
        violations.push(...(await audit(page, colorScheme)));
        text = await page.evaluate("document.body.innerText");
      }
      await page.close();
    }
  }
  return { messages, requests, violations, overflow, reached, text };
}

async function openAll(page: Page): Promise<void> {
  await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true");
}

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly target: readonly unknown[]; readonly failureSummary?: string }[];
}

/** axe-core with the rules of WCAG 2.2 A and AA, and its own good practices. */
async function audit(page: Page, scheme: string): Promise<string[]> {
  // Through the browser's own way into the page: its policy lets no further script in.
  await page.evaluate(axe);
  const found = await page.evaluate<Violation[]>(
    "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations)",
  );
  return found.map(({ id, nodes }) => {
    const [first] = nodes;
    return `${scheme}: ${id}, ${nodes.length} times: ${String(first?.target)}: ${first?.failureSummary ?? ""}`;
  });
}

/** Goes through the page by the keyboard alone: the links of the parts, then a step into each of them. */
async function walk(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const id of sectionIds) {
    await page.evaluate("scrollTo(0, 0); document.activeElement?.blur?.()");
    // The link to the part is reached by Tab alone, and Enter leads there.
    const link = `nav a[href='#${id}']`;
    for (let step = 0; step < 40; step++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate<boolean>(`document.activeElement?.matches("${link}") === true`)) break;
    }
    await page.keyboard.press("Enter");
    const there = `location.hash === "#${id}" && document.getElementById("${id}").getBoundingClientRect().top < innerHeight`;
    await page.waitForFunction(there).then(() => found.push(id));
  }
  return found;
}
