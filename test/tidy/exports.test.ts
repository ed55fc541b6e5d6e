import { expect, test } from "vitest";
import { read, typeScriptFiles } from "./source-files.ts";

const declaration = /^export (?:abstract |async )?(?:function\*?|class|const|enum) (\w+)/gm;

/** Types stay exported where a public function mentions them. */
test("every function, class and constant that is exported is used in another file", () => {
  const files = ["src", "test", "bench", "packaging"].flatMap((folder) => typeScriptFiles(folder));
  const words = new Map(files.map((path) => [path, new Set(read(path).match(/\w+/g))]));
  const unused = files
    .filter((path) => path.startsWith("src/"))
    .flatMap((path) =>
      [...read(path).matchAll(declaration)]
        .map(([, name]) => name as string)
        .filter((name) => !files.some((other) => other !== path && words.get(other)?.has(name)))
        .map((name) => `${path}: ${name}`),
    );
  expect(unused).toEqual([]);
});
