import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { codeImports } from "./source-files.ts";

/** Packages, and files of src/, whose code is loaded when a file is. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const from of codeImports(file)) {
    if (from.startsWith(".")) loadedWith(join(dirname(file), from), seen);
    else if (!from.startsWith("node:")) seen.add(from);
  }
  return seen;
}

test("a command line is read without the code that carries it out", () => {
  const loaded = [...loadedWith("src/cli/main.ts")];
  expect(loaded).toContain("src/cli/command-table.ts");
  expect(loaded.filter((name) => !name.startsWith("src/"))).toEqual(["commander"]);
  const rooms = new Set(loaded.filter((name) => name.startsWith("src/")).map((name) => name.split("/")[1]));
  expect([...rooms].sort()).toEqual(["cli", "support"]);
});
