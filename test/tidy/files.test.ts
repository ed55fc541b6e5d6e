import { basename } from "node:path";
import { expect, test } from "vitest";
import { read, repositoryFiles, typeScriptFiles } from "./source-files.ts";

const lineLimit = 400;
const written = ["src", "test", "bench"].flatMap(typeScriptFiles);

test("a file that needs a table of contents is two files", () => {
  const long = written.filter((path) => read(path).split("\n").length > lineLimit);
  expect(long).toEqual([]);
});

test("names say what is in a file", () => {
  const vague = /^(utils?|helpers?|misc|common|manager|shared|stuff)\.ts$/;
  expect(written.filter((path) => vague.test(basename(path)))).toEqual([]);
});

test("every exported function says what it does", () => {
  const silent: string[] = [];
  for (const path of typeScriptFiles("src")) {
    const lines = read(path).split("\n");
    lines.forEach((line, index) => {
      const name = /^export (?:async )?function\*? (\w+)/.exec(line)?.[1];
      if (name === undefined) return;
      const above = lines[index - 1] ?? "";
      // An overload shares the comment of the first one.
      const overload = lines.slice(0, index).some((earlier) => earlier.startsWith(`export function ${name}(`));
      if (!above.trimEnd().endsWith("*/") && !overload) silent.push(`${path}: ${name}`);
    });
  }
  expect(silent).toEqual([]);
});

test("nothing names the machine that it was written on", () => {
  // Spelled in parts, so that this file is not found.
  const places = [
    ["/wo", "rk/"],
    ["/tmp/", "k\\d?/"],
    ["/ho", "me/\\w"],
    ["/ro", "ot/\\w"],
  ].map((parts) => parts.join(""));
  const hosts = "(?:localhost|127\\.0\\.0\\.1|10\\.\\d+\\.\\d+\\.\\d+|192\\.168\\.\\d+\\.\\d+):\\d+";
  const pattern = new RegExp(`(?<![\\w.$}])(?:${[...places, hosts].join("|")})`);
  const found: string[] = [];
  for (const path of repositoryFiles()) {
    read(path)
      .split("\n")
      .forEach((line, index) => {
        if (pattern.test(line)) found.push(`${path}:${index + 1}: ${line.trim().slice(0, 100)}`);
      });
  }
  expect(found).toEqual([]);
});

test("package versions come from the npm registry without a name of a mirror", () => {
  const resolved = [...read("package-lock.json").matchAll(/"resolved": "([^"]*)"/g)].map((match) => match[1] as string);
  expect(resolved.filter((url) => !url.startsWith("https://registry.npmjs.org/"))).toEqual([]);
});

test("npm ci finds every optional package of every platform in the lock file", () => {
  const { packages } = JSON.parse(read("package-lock.json")) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>;
  };
  const known = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf("node_modules/") + 13)));
  const named = Object.values(packages).flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies));
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});

test("nothing is left to do later", () => {
  const mark = new RegExp(`\\b(${["TO", "DO"].join("")}|${["FIX", "ME"].join("")}|X{3})\\b`);
  expect(written.filter((path) => mark.test(read(path)))).toEqual([]);
});

test("programs and examples of the repository can be run", () => {
  const files = repositoryFiles();
  expect(files).toContain("bin/kmend");
  expect(files).toContain(".ci/run");
});
