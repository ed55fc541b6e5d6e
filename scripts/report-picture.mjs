// Makes docs/report.png: the beginning of the review report of an example, as a browser shows it. Needs what `kmend try` needs, and chromium.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const picture = join(root, "docs/report.png");
/** Bytes that a picture in the repository may have. */
const limit = 200_000;

const folder = mkdtempSync(join(tmpdir(), "kmend-picture-"));
try {
  const page = join(folder, "report.html");
  const probes = ["tail -n 1 /proc/version", "head -n 1 /proc/devices"].flatMap((command) => ["--probe", command]);
  const words = ["try", "examples/two-files.patch", "--kernel", "newest", "--report", page, ...probes];
  execFileSync(join(root, "bin/kmend"), words, { cwd: root, stdio: "inherit" });
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const opened = await browser.newPage({ viewport: { width: 1280, height: 1420 }, colorScheme: "light" });
  await opened.goto(pathToFileURL(page).href);
  await opened.screenshot({ path: picture });
  await browser.close();
  const { size } = statSync(picture);
  if (size >= limit) throw new Error(`${picture} has ${size} bytes, and may have ${limit}`);
  console.log(`${picture}: ${size} bytes`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
