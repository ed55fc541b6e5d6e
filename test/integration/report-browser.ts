import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";

/** Where the pictures go that a person looks at. */
export const pictures = join(tmpdir(), "kmend-report-pictures");

export const schemes = ["light", "dark"] as const;
/** A phone, a tablet, a desk. */
export const widths = [360, 820, 1400] as const;

/** Of what a long page has many times, the first are audited: it would take minutes for all of them. */
const pruned = `for (const kind of ["#functions details.function", ".hunk", "#proof > details", "#state details", "tbody tr"])
  for (const parent of new Set([...document.querySelectorAll(kind)].map((one) => one.parentElement)))
    for (const one of [...parent.children].filter((child) => child.matches(kind)).slice(40)) one.remove()`;

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
        if (colorScheme === "light") reached = await walk(page, url);
        await openAll(page);
        if (colorScheme === "light") text = await page.evaluate("document.body.innerText");
        await page.evaluate(pruned);
        violations.push(...(await audit(page, colorScheme)));
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

/** Goes to each part of the page by the keyboard alone: Tab to the link of the part, and Enter. */
async function walk(page: Page, url: string): Promise<string[]> {
  const found: string[] = [];
  const ids = await page.evaluate<string[]>(
    "[...document.querySelectorAll('nav a')].map((link) => link.hash.slice(1))",
  );
  for (const id of ids) {
    // Where the last way ended, the next Tab would go on.
    await page.goto("about:blank");
    await page.goto(url);
    for (let step = 0; step <= ids.length + 1; step++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate<boolean>(`document.activeElement.matches("nav a[href='#${id}']")`)) break;
    }
    await page.keyboard.press("Enter");
    const isThere = `location.hash === "#${id}" && document.getElementById("${id}").getBoundingClientRect().top < innerHeight`;
    for (let look = 0; look < 100 && !found.includes(id); look++) {
      if (await page.evaluate<boolean>(isThere)) found.push(id);
      else await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))");
    }
  }
  return found;
}

/** What the page does when the first name in its code gets the focus: how many places are marked, and how many have that name. */
export async function focusName(
  browser: Browser,
  path: string,
): Promise<{ readonly marked: number; readonly same: number }> {
  const page = await browser.newPage();
  await page.goto(pathToFileURL(path).href);
  await page.focus("a.n");
  const count = (selector: string): Promise<number> =>
    page.evaluate<number>(`document.querySelectorAll('${selector}').length`);
  const name = await page.evaluate<string>("document.activeElement.dataset.n");
  const found = { marked: await count(".lit"), same: await count(`[data-n="${name}"]`) };
  await page.close();
  return found;
}

/** Colours of headings, sections and code on paper, where the reader's screen is dark: `rgb(…)` by what has them. */
export async function printedColours(browser: Browser, path: string): Promise<Record<string, string>> {
  const page = await browser.newPage({ colorScheme: "dark" });
  await page.goto(pathToFileURL(path).href);
  await page.emulateMedia({ media: "print" });
  const found = await page.evaluate<Record<string, string>>(`({
    page: getComputedStyle(document.body).backgroundColor,
    section: getComputedStyle(document.querySelector("main > section")).backgroundColor,
    heading: getComputedStyle(document.querySelector("h2")).color,
    title: getComputedStyle(document.querySelector("h1")).color,
    code: getComputedStyle(document.querySelector("table.code td, .hunk td, pre")).color,
  })`);
  await page.close();
  return found;
}

/** Headings that are seen and folds that open where the browser runs no scripts. */
export async function withoutScripts(
  browser: Browser,
  path: string,
): Promise<{ readonly headings: readonly string[]; readonly opens: boolean; readonly buttons: number }> {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(pathToFileURL(path).href);
  const fold = page.locator("#module details").first();
  await fold.locator("summary").click();
  const opens = await fold.locator("table").first().isVisible();
  const headings = await page.locator("h2:visible").allInnerTexts();
  const buttons = await page.locator("button:visible").count();
  await context.close();
  return { headings, opens, buttons };
}
