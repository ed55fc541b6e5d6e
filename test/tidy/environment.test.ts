import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { environmentVariables } from "../../src/support/environment.ts";
import { root, typeScriptFiles } from "./source-files.ts";

const place = "src/support/environment.ts";

test("environment variables are read in one place", () => {
  const readers = typeScriptFiles("src").filter((path) =>
    /\bprocess\.env\b/.test(readFileSync(join(root, path), "utf8")),
  );
  expect(readers).toEqual([place]);
});

test("docs/debugging.md has all that are read, and says what each does", () => {
  const page = readFileSync(join(root, "docs/debugging.md"), "utf8");
  const section = page.slice(page.indexOf("## Environment variables"), page.indexOf("For tests:"));
  const rows = section.split("\n").filter((line) => /^\| `/.test(line));
  const named = rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`([A-Z_]+)/g)].map(([, name]) => name));
  expect(named.sort()).toEqual(Object.keys(environmentVariables).sort());
});
