import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { ExitCode } from "../../src/support/errors.ts";
import { read, repositoryFiles } from "./source-files.ts";

const files = repositoryFiles();
const folders = new Set(files.flatMap((path) => parentsOf(path)));
const pages = files.filter((path) => path.endsWith(".md"));

function parentsOf(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** What GitHub makes of the headings of a page, as targets of links. */
function anchorsOf(page: string): Set<string> {
  const headings = [...read(page).matchAll(/^#+ (.*)$/gm)].map((match) => match[1] as string);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** Pages without the blocks of code in them. */
function textOf(page: string): string {
  return read(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
}

describe.each(pages)("%s", (page) => {
  test("links lead to files and headings of the repository", () => {
    const links = [...textOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] as string);
    const broken = links.filter((link) => {
      if (/^\w+:/.test(link)) return false;
      const [path, heading] = link.split("#") as [string, string | undefined];
      const target = path === "" ? page : normalize(join(dirname(page), path));
      if (!files.includes(target)) return true;
      return heading !== undefined && !anchorsOf(target).has(heading);
    });
    expect(broken).toEqual([]);
  });
});

/** Pages for people who change kmend: they name many files. */
const guides = ["CONTRIBUTING.md", "docs/architecture.md", "docs/debugging.md"];

test.each(guides)("every file and folder that %s names is there", (page) => {
  const top = "(?:src|test|bench|packaging|scripts|docs|include|system|examples|compat|bin|\\.ci)/";
  const named = [...read(page).matchAll(new RegExp(`(?<![\\w/.~$}-])${top}[\\w./-]*`, "g"))].map((match) =>
    match[0].replace(/[./]+$/, ""),
  );
  expect(named.length).toBeGreaterThan(3);
  // NAME stands for a file that is to be written.
  const exact = named.filter((path) => !/\bNAME\b/.test(path));
  expect(exact.filter((path) => !files.includes(path) && !folders.has(path))).toEqual([]);
});

test("every room of src/, and every room in one, is explained", () => {
  const page = read("docs/architecture.md");
  const rooms = [...folders].filter((path) => /^src\/[\w-]+$/.test(path));
  expect(rooms.length).toBeGreaterThan(10);
  const inner = [...folders].filter((path) => /^src\/(kernel|build|diff|host|package|cli)\/[\w-]+$/.test(path));
  expect([...rooms, ...inner].filter((room) => !page.includes(`\`${room}\``))).toEqual([]);
});

test("the page about the architecture has every exit code", () => {
  const page = read("docs/architecture.md");
  for (const code of Object.values(ExitCode)) expect(page).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
});

test("every kind of warning is explained", () => {
  const codes = [...read("src/build/warnings/warning.ts").matchAll(/^ {4}\| "([A-Z_]+)"/gm)].map((match) => match[1]);
  expect(codes.length).toBeGreaterThan(5);
  const page = read("docs/building.md");
  expect(codes.filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
});
