import { cruise, type ICruiseResult } from "dependency-cruiser";
import { beforeAll, expect, test } from "vitest";
import { root, typeScriptFiles } from "./source-files.ts";

/** Rooms that each room of src/ may import from; arrows point down only. `.` is src/index.ts, the library's front. */
const mayImport: Readonly<Record<string, readonly string[]>> = (() => {
  const objects = ["patch-module", "elf", "support"];
  const change = ["change", ...objects];
  const target = ["kernel", ...change];
  const build = ["adapt", "match", "diff", ...target];
  const top = ["cve", "matrix", "update", "package", "host", "vm", "build", ...build];
  return {
    support: [],
    elf: ["support"],
    "patch-module": ["elf", "support"],
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
    matrix: ["package", "build", ...build],
    // From a number to a module: the records choose the patches, and a build makes the module of them.
    cve: ["build", ...build],
    cli: top,
    ".": top,
  };
})();

let graph: ICruiseResult;

beforeAll(async () => {
  const options = { baseDir: root, parser: "swc", tsPreCompilationDeps: true, doNotFollow: "node_modules" } as const;
  const { output } = await cruise(["src"], options);
  graph = output as ICruiseResult;
});

function roomOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] as string) : ".";
}

test("every file of src/ was read", () => {
  // Without a parser for TypeScript the tool finds nothing, and nothing to object to.
  const files = graph.modules.map(({ source }) => source).filter((source) => source.startsWith("src/"));
  expect(files.sort()).toEqual(typeScriptFiles("src").sort());
  const imports = graph.modules.flatMap(({ dependencies }) => dependencies);
  expect(imports.length).toBeGreaterThan(files.length);
  expect(imports.filter(({ couldNotResolve }) => couldNotResolve).map(({ module }) => module)).toEqual([]);
});

test("rooms import from the rooms below them only", () => {
  const wrong: string[] = [];
  for (const { source, dependencies } of graph.modules) {
    if (!source.startsWith("src/")) continue;
    const from = roomOf(source);
    for (const { resolved } of dependencies) {
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
  const next = new Map(
    graph.modules.map(({ source, dependencies }) => [source, dependencies.map((to) => to.resolved)]),
  );
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
