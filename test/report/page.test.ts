import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { renderComparison } from "../../src/report/page/comparison.tsx";
import { renderReport } from "../../src/report/page/document.tsx";
import { jumpLanes } from "../../src/report/page/jump-lanes.ts";
import { comparedBytes } from "../../src/report/page/proof.tsx";
import { symbolIndex } from "../../src/report/page/symbol-index.ts";
import { visibleText } from "../../src/report/page/visible.ts";
import type { ReportedFunction } from "../../src/report/report-types.ts";
import { sectionIds } from "../../src/report/report-types.ts";
import { sampleComparison, sampleReport, withText } from "./sample-report.ts";

/** Tags of a page, as a parser of HTML sees them: what is in quotes is part of the tag that it is in. */
function tagsOf(html: string): string[] {
  const body = html.replace(/<(style|script)>[\s\S]*?<\/\1>/g, "<$1></$1>");
  return [...body.matchAll(/<(\/?[a-zA-Z][\w-]*)((?:\s+[\w:-]+(?:="[^"]*")?)*)\s*\/?>/g)].map(([tag]) => tag);
}

/** Names of elements, and of their attributes. */
function shapeOf(html: string): string[] {
  return tagsOf(html).map((tag) => tag.replace(/="[^"]*"/g, ""));
}

const markup = `</td></script><script>alert(1)</script><img src=x onerror=alert(1)>"'onfocus='x' &amp;<!--`;
const controls = "\u0000\u0007\u001b[31m\u007f\u0085\u202e\u2066\u200b\ufeff\ud800";

test("a name that several units have is said of each of them", () => {
  const [first, ...rest] = sampleReport.functions;
  const { code, proof } = first as ReportedFunction;
  const rows = (code?.rows ?? []).map((row) => ({
    ...row,
    shipped: { at: 0, text: "call run", names: [], jump: null },
  }));
  const withRun = (id: string, address: string): ReportedFunction => ({
    ...(first as ReportedFunction),
    id,
    code: { differing: 0, rows },
    proof: proof && {
      ...proof,
      masked: [{ offset: 1, width: 4, symbol: "run", address, confirmed: "symbol" as const }],
    },
  });
  const functions = [withRun("fn-1", "0xffffffff81000100"), withRun("fn-9", "0xffffffff81000200"), ...rest];
  const run = symbolIndex({ ...sampleReport, functions }).get("run");
  expect(run?.addresses).toEqual(["0xffffffff81000100", "0xffffffff81000200"]);
});

describe("values from outside", () => {
  const pages = [
    ["a report", (addition: string) => renderReport(withText(sampleReport, addition))],
    ["a comparison", (addition: string) => renderComparison(withText(sampleComparison, addition))],
  ] as const;

  test.each(pages)("markup stays text wherever it stands in %s", (_, render) => {
    const html = render(markup);
    expect(html).not.toContain("<img");
    expect(html).not.toContain("<!--");
    // Its own, if it has one.
    expect(html.match(/<script/g)).toEqual(render("").match(/<script/g));
    expect(html).toContain("&lt;script>alert(1)&lt;/script>");
    const handlers = tagsOf(html).filter((tag) => /\son\w+=/.test(tag.replace(/="[^"]*"/g, "=")));
    expect(handlers).toEqual([]);
    // Nothing but the tags that the library made: each sign that could begin one is escaped.
    const rest = html.replace(/<(style|script)>[\s\S]*?<\/\1>/g, "").replace("<!doctype html>", "");
    expect(rest.split("<").length - 1).toBe(tagsOf(rest).length);
  });

  test.each(pages)("what cannot be seen is shown in %s", (_, render) => {
    const html = render(controls);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(html).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2066-\u2069\ufeff]/);
    expect(Buffer.from(html).toString()).toBe(html);
    expect(html).toContain("\u2400\u2407\u241b[31m\u2421\u27e8U+0085\u27e9\u27e8U+202E\u27e9");
    expect(visibleText("a\r\nb\tc")).toBe("a\nb\tc");
  });

  test.each(pages)("no text brings elements or attributes of its own to %s", (_, render) => {
    const known = new Set([...shapeOf(render("")), ...shapeOf(render(" x"))]);
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        const html = render(text);
        expect(shapeOf(html).filter((shape) => !known.has(shape))).toEqual([]);
        const rest = html.replace(/<(style|script)>[\s\S]*?<\/\1>/g, "<$1></$1>").replace("<!doctype html>", "");
        expect(rest.split("<").length - 1).toBe(tagsOf(html).length);
      }),
      { numRuns: 60 },
    );
  });
});

describe("the page", () => {
  const html = renderReport(sampleReport);

  test("is the same for the same report", () => {
    expect(renderReport(structuredClone(sampleReport))).toBe(html);
  });

  test("allows its own style and script and nothing else", () => {
    const policy =
      /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1]?.replaceAll("&#39;", "'") ?? "";
    const digest = (tag: string): string => {
      const text = new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`).exec(html)?.[1] ?? "";
      return `sha256-${createHash("sha256").update(text).digest("base64")}`;
    };
    expect(policy.split("; ")).toEqual([
      "default-src 'none'",
      `style-src '${digest("style")}'`,
      `script-src '${digest("script")}'`,
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(html).not.toMatch(/\sstyle="/);
    expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/(?:src|href)="(?!#)/);
    expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toContain("://");
  });

  test("has the ten parts in their order, each with its heading", () => {
    const found = [...html.matchAll(/<section id="([\w-]+)" aria-labelledby="([\w-]+)"/g)];
    expect(found.map(([, id]) => id)).toEqual([...sectionIds]);
    for (const [, , title] of found) expect(html).toContain(`<h2 id="${title}">`);
  });

  test("every link leads to something in the page", () => {
    const targets = [...html.matchAll(/href="#([^"]*)"/g)].map(([, target]) => target as string);
    const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id as string);
    expect(targets.length).toBeGreaterThan(15);
    expect(targets.filter((target) => !ids.includes(target))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("callbacks are told with the moment at which the livepatch core calls them", () => {
    expect(html).toContain("before the transition to the patch");
    expect(html).toContain("<code>a_pre</code>");
    expect(renderComparison(sampleComparison)).toContain("license=GPL");
  });

  test("bytes that were compared and bytes that are masked are all bytes", () => {
    const [first] = sampleReport.functions as readonly [ReportedFunction, ...ReportedFunction[]];
    expect(comparedBytes(first)).toEqual({ compared: 12, masked: 8 });
    expect(html).toContain("1 of 1 changed function");
  });
});

describe("arrows of branches", () => {
  test("a short one is next to the code, and one around it further out", () => {
    expect(
      jumpLanes(5, [
        { from: 0, to: 4 },
        { from: 1, to: 3 },
      ]),
    ).toEqual(["╭──", "│╭─", "││ ", "│╰▸", "╰─▸"]);
  });

  test("without branches there is no margin", () => {
    expect(jumpLanes(2, [])).toEqual(["", ""]);
  });
});

test("the summary of a comparison is green only where nothing is dropped and nothing is to be known", () => {
  const kindOf = (change: Partial<typeof sampleComparison>): string | undefined =>
    /class="verdict (\w+)"/.exec(renderComparison({ ...sampleComparison, functions: [], remarks: [], ...change }))?.[1];
  expect(kindOf({})).toBe("good");
  expect(kindOf({ remarks: ["the callbacks differ"] })).toBe("warn");
  expect(kindOf({ functions: sampleComparison.functions })).toBe("warn");
  expect(kindOf({ sameKernel: null })).toBe("warn");
  expect(kindOf({ sameKernel: false })).toBe("bad");
});

test("a comparison tells functions of one name apart, and what differs where no instruction does", () => {
  const [one] = sampleComparison.functions as [(typeof sampleComparison.functions)[number]];
  const code = { rows: one.code?.rows ?? [], differing: 0 };
  const functions = [
    { ...one, sympos: 1, code, tables: [] },
    { ...one, sympos: 2, code, tables: ["__ex_table"] },
  ];
  const html = renderComparison({ ...sampleComparison, functions });
  for (const label of ["a_show,1", "a_show,2"]) expect(html.split(`<code>${label}</code>`)).toHaveLength(3);
  expect(html).toContain("the same instructions; what they refer to differs");
  expect(html).toContain("0 rows differ; other entries in __ex_table");
});
