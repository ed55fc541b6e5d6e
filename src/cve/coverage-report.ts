import { join } from "node:path";
import { rethrowDiskErrors, writeFileAtomically } from "../support/cache.ts";
import { makeFolder } from "../support/make-folder.ts";
import type { CveCoverage } from "./coverage.ts";

type Row = CveCoverage["cves"][number];

/**
 * Writes the coverage of a kernel into a folder, which is made: `coverage.md` and `coverage.html` for people, `coverage.json` for programs.
 * @returns the paths of the files.
 */
export async function writeCoverage(folder: string, coverage: CveCoverage): Promise<readonly string[]> {
  await makeFolder(folder).catch(rethrowDiskErrors);
  const files = {
    "coverage.md": markdownOf(coverage),
    "coverage.html": pageOf(coverage),
    "coverage.json": `${JSON.stringify(coverage, undefined, 2)}\n`,
  };
  const paths: string[] = [];
  for (const [name, content] of Object.entries(files)) {
    await writeFileAtomically(join(folder, name), content);
    paths.push(join(folder, name));
  }
  return paths;
}

const heads = ["CVE", "CVSS", "State", "Fixed in", "Title", "Why"];

function cellsOf({ id, score, state, plan, fixedIn, title, why }: Row): string[] {
  const codes = plan === null || plan.codes.length === 0 ? "" : ` (${plan.codes.join(", ")})`;
  const said = plan === null ? state : `${plan.state}${codes}`;
  return [id, score === null ? "–" : score.toFixed(1), said, fixedIn ?? "–", title, plan?.why || why];
}

function summaryOf({ kernel, data, cves }: CveCoverage): string[] {
  return [
    `${kernel.release}, Linux ${kernel.version}, build id ${kernel.buildId || "(none)"}`,
    `${cves.length} vulnerabilities that were fixed after this version or not at all, of ${data.records} records`,
    `Records: SHA-256 ${data.sha256}`,
  ];
}

/** How many stand how, planned ones by their plan. */
function totalsOf({ cves }: CveCoverage): [string, number][] {
  const totals = new Map<string, number>();
  for (const { state, plan } of cves) totals.set(plan?.state ?? state, (totals.get(plan?.state ?? state) ?? 0) + 1);
  return [...totals].sort((a, b) => b[1] - a[1]);
}

function markdownOf(coverage: CveCoverage): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(escapedForMarkdown).join(" | ")} |`;
  return [
    `# Live patch coverage of ${escapedForMarkdown(coverage.kernel.release)}`,
    "",
    ...summaryOf(coverage).map((line) => `* ${escapedForMarkdown(line)}`),
    "",
    row(["State", "Vulnerabilities"]),
    row(["---", "---:"]),
    ...totalsOf(coverage).map(([state, count]) => row([state, String(count)])),
    "",
    row(heads),
    row(heads.map(() => "---")),
    ...coverage.cves.map((cve) => row(cellsOf(cve))),
    "",
  ].join("\n");
}

function escapedForMarkdown(text: string): string {
  return text === "---" || text === "---:"
    ? text
    : plain(text).replace(/[\\|`*_<>[\]]/g, (character) => `\\${character}`);
}

function pageOf(coverage: CveCoverage): string {
  const cells = (kind: "td" | "th", texts: readonly string[]): string =>
    `<tr>${texts.map((text) => `<${kind}>${escapedForHtml(text)}</${kind}>`).join("")}</tr>`;
  const title = `Live patch coverage of ${escapedForHtml(coverage.kernel.release)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 80rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid color-mix(in srgb, currentColor 30%, transparent); padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; }
</style>
</head>
<body>
<main>
<h1>${title}</h1>
<ul>
${summaryOf(coverage)
  .map((line) => `<li>${escapedForHtml(line)}</li>`)
  .join("\n")}
</ul>
<h2>By state</h2>
<table>
<thead>${cells("th", ["State", "Vulnerabilities"])}</thead>
<tbody>
${totalsOf(coverage)
  .map(([state, count]) => cells("td", [state, String(count)]))
  .join("\n")}
</tbody>
</table>
<h2>One by one</h2>
<div class="wide" role="region" aria-label="Vulnerabilities" tabindex="0">
<table>
<thead>${cells("th", heads)}</thead>
<tbody>
${coverage.cves.map((cve) => cells("td", cellsOf(cve))).join("\n")}
</tbody>
</table>
</div>
</main>
</body>
</html>
`;
}

/** Without characters that steer a terminal or the direction of text. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, " ");
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapedForHtml(text: string): string {
  return plain(text).replace(/[&<>"']/g, (character) => entities[character] ?? "");
}
