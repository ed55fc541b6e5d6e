import { expect, test } from "vitest";
import { commands } from "../../src/cli/command-table.ts";
import { ExitCode } from "../../src/support/errors.ts";
import { read, repositoryFiles } from "./source-files.ts";

const readme = read("README.md");
const { examples } = JSON.parse(read("examples/examples.json")) as {
  examples: { patch: string; shows: string; probes: { command: string }[] }[];
};

test("every example can be copied from the page, with a probe that shows its effect", () => {
  for (const { patch, shows, probes } of examples) {
    const line = readme.split("\n").find((text) => text.startsWith(`bin/kmend try examples/${patch} `));
    expect(line, patch).toBeDefined();
    expect(probes.some(({ command }) => line?.includes(`--probe '${command}'`))).toBe(true);
    expect(readme).toContain(shows);
  }
});

test("every command and every exit code is there", () => {
  for (const { name } of commands) expect(readme).toContain(`| \`kmend ${name}`);
  for (const code of Object.values(ExitCode)) expect(readme).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
});

test("every room of src/ is explained", () => {
  const rooms = new Set(repositoryFiles().flatMap((path) => /^src\/(\w+)\//.exec(path)?.[1] ?? []));
  expect(rooms.size).toBeGreaterThan(5);
  for (const room of rooms) expect(readme).toContain(`\`src/${room}\``);
});

test("links lead to files of the repository", () => {
  const files = repositoryFiles();
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1] as string);
  expect(links.length).toBeGreaterThan(0);
  expect(links.filter((link) => !files.includes(link))).toEqual([]);
});

test("what .ci/run does is what the page says", () => {
  for (const step of ["npm ci", "bin/kmend doctor --install", "npm test"]) {
    expect(read(".ci/run")).toContain(step);
    expect(readme).toContain(step);
  }
});
