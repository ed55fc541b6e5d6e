import { expect, test } from "vitest";
import { read, typeScriptFiles } from "./source-files.ts";

/** What may wait for another process, for the network or for minutes of work: nothing but its signal ends it early. */
const long = ["findTargetKernel", "prepareTree", "reserveTree", "updateRepository", "createUpdate"];

/** The words between the brackets of each call of a function in a file. */
function callsOf(name: string, text: string): string[] {
  const calls: string[] = [];
  for (const { index } of text.matchAll(new RegExp(`(?<!function )\\b${name}\\(`, "g"))) {
    const start = index + name.length + 1;
    let depth = 1;
    let end = start;
    for (; depth > 0 && end < text.length; end++)
      depth += "([{".includes(text[end] as string) ? 1 : ")]}".includes(text[end] as string) ? -1 : 0;
    calls.push(text.slice(start, end - 1));
  }
  return calls;
}

test("whatever may take long is started with what ends it", () => {
  const found = typeScriptFiles("src").flatMap((path) =>
    long.flatMap((name) => callsOf(name, read(path)).map((words) => ({ path, name, words }))),
  );
  expect(new Set(found.map(({ name }) => name)).size).toBe(long.length);
  const deaf = found.filter(({ words }) => !/\bsignal\b|\.\.\.options\b|(?:^|, )options$/.test(words.trim()));
  expect(deaf.map(({ path, name, words }) => `${path}: ${name}(${words})`)).toEqual([]);
});
