import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { read } from "./source-files.ts";

/** Packages, and files of src/, whose code is loaded when a file is. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const [, type, names, from] of read(file).matchAll(
    /^(?:import|export)\s+(type\s)?(\{[^}]*\}|[^{}"]*?)\s+from\s+"([^"]+)";/gm,
  )) {
    const listed = (names as string).replace(/[{}]/g, "").split(",");
    const isType = (name: string): boolean => name.trim() === "" || name.trim().startsWith("type ");
    if (type !== undefined || (listed.length > 0 && listed.every(isType))) continue;
    const wanted = from as string;
    if (wanted.startsWith(".")) loadedWith(join(dirname(file), wanted), seen);
    else if (!wanted.startsWith("node:")) seen.add(wanted);
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
