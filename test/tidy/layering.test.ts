import { dirname, join } from "node:path";
import { cruise, type ICruiseResult } from "dependency-cruiser";
import { beforeAll, expect, test } from "vitest";
import { read, root, typeScriptFiles } from "./source-files.ts";

/** Rooms that each room of src/ may import from; arrows point down only. `.` is src/index.ts, the library's front. */
const mayImport: Readonly<Record<string, readonly string[]>> = (() => {
  const objects = ["patch-module", "elf", "refusals", "support"];
  const change = ["change", ...objects];
  const target = ["kernel", ...change];
  const build = ["adapt", "match", "diff", ...target];
  const top = ["stop", "cve", "report", "matrix", "update", "package", "host", "vm", "build", ...build];
  return {
    support: [],
    // Why a change cannot be live, in words: whoever finds a reason says it with a row of this room.
    refusals: ["support"],
    elf: ["support"],
    "patch-module": ["elf", "refusals", "support"],
    change: objects,
    kernel: objects,
    diff: target,
    match: ["diff", ...target],
    // Asks compilers; what follows from the answers for a module, the build decides.
    adapt: ["diff", ...target],
    build,
    // The running system and the virtual machine know nothing of how a patch module is made.
    host: objects,
    vm: objects,
    package: target,
    // Ksplice updates are made by a build and applied on a host: the only room that may use both.
    update: ["package", "host", "build", ...build],
    // Has cells built and tried by processes of their own, of which it knows what they print.
    matrix: ["cve", "package", "vm", "build", ...build],
    // From a number to a module: the records choose the patches, and a build makes the module of them.
    cve: ["build", ...build],
    // Writes modules without a compiler; reads a running kernel's own files, and neither loads nor installs anything.
    stop: ["build", ...build],
    // Shows what a build and a trial found out; it changes nothing.
    report: ["vm", "build", ...build],
    cli: top,
    ".": top,
  };
})();

let graph: ICruiseResult;

/** The tool cannot read the files of the review page with elements in them; these are read as text. */
const pages = typeScriptFiles("src").filter((path) => path.endsWith(".tsx"));

beforeAll(async () => {
  const reading = {
    parser: "swc",
    tsPreCompilationDeps: true,
    doNotFollow: "node_modules",
    exclude: "[.]tsx$",
  } as const;
  const packages = { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] };
  const { output } = await cruise(["src"], { baseDir: root, ...reading }, packages);
  graph = output as ICruiseResult;
});

/** Every import of a file, those of types included, as paths from the root. */
function importsOf(path: string): string[] {
  return [...read(path).matchAll(/(?:from |import\()"(\.[^"]+)"/g)].map(([, from]) =>
    join(dirname(path), from as string),
  );
}

/** Each file with the files that it imports. */
function importsOfAll(): [string, string[]][] {
  const read = graph.modules.map(({ source, dependencies }): [string, string[]] => [
    source,
    dependencies.map(({ resolved }) => resolved),
  ]);
  return [...read, ...pages.map((path): [string, string[]] => [path, importsOf(path)])];
}

function roomOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] as string) : ".";
}

test("every file of src/ was read", () => {
  // Without a parser for TypeScript the tool finds nothing, and nothing to object to.
  const files = graph.modules.map(({ source }) => source).filter((source) => source.startsWith("src/"));
  expect([...files, ...pages].sort()).toEqual(typeScriptFiles("src").sort());
  for (const path of pages) expect(importsOf(path).length, path).toBeGreaterThan(0);
  const imports = graph.modules.flatMap(({ dependencies }) => dependencies);
  expect(imports.length).toBeGreaterThan(files.length);
  expect(imports.filter(({ couldNotResolve }) => couldNotResolve).map(({ module }) => module)).toEqual([]);
});

test("rooms import from the rooms below them only", () => {
  const wrong: string[] = [];
  for (const [source, imports] of importsOfAll()) {
    if (!source.startsWith("src/")) continue;
    const from = roomOf(source);
    for (const resolved of imports) {
      if (!resolved.startsWith("src/")) continue;
      const to = roomOf(resolved);
      if (from !== to && mayImport[from]?.includes(to) !== true) wrong.push(`${source} → ${resolved}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("what a kernel's image, types and modules say needs no prepared tree", () => {
  const wrong = graph.modules
    .filter(({ source }) => /^src\/kernel\/(image|types|modules)\//.test(source))
    .flatMap(({ source, dependencies }) =>
      dependencies
        .filter(({ resolved }) => resolved.startsWith("src/kernel/tree/"))
        .map(({ resolved }) => `${source} → ${resolved}`),
    );
  expect(wrong).toEqual([]);
});

test("no file imports itself through others, for types alone or later either", () => {
  const next = new Map(importsOfAll());
  // A file of types alone is imported by nobody else's code: the graph has to know it all the same.
  expect(next.get("src/patch-module/manifest-schema.ts")).toContain("src/patch-module/manifest.ts");
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
    if (done.has(file) || path.includes(file)) return;
    for (const other of next.get(file) ?? []) visit(other, [...path, file]);
    done.add(file);
  };
  for (const file of next.keys()) visit(file, []);
  expect(cycles).toEqual([]);
});
