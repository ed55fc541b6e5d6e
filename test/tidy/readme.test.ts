import { expect, test } from "vitest";
import { commands } from "../../src/cli/command-table.ts";
import { ExitCode } from "../../src/support/errors.ts";
import { read } from "./source-files.ts";

const readme = read("README.md");
const { examples } = JSON.parse(read("examples/examples.json")) as {
  examples: { patch: string; shows: string; probes: { command: string }[] }[];
};

test("every example can be copied from the page about building, with a probe that shows its effect", () => {
  const page = read("docs/building.md");
  for (const { patch, shows, probes } of examples) {
    const line = page.split("\n").find((text) => text.startsWith(`bin/kmend try examples/${patch} `));
    expect(line, patch).toBeDefined();
    expect(probes.some(({ command }) => line?.includes(`--probe '${command}'`))).toBe(true);
    expect(page).toContain(shows);
  }
});

test("the README begins with a command that can be copied", () => {
  const { patch, probes } = examples[0] as (typeof examples)[0];
  expect(readme).toContain(
    `npm ci && bin/kmend try examples/${patch} --kernel newest --probe '${probes[0]?.command}'\n`,
  );
});

test("every command and every exit code is in the README", () => {
  for (const { name } of commands) expect(readme).toContain(`| \`kmend ${name}`);
  for (const code of Object.values(ExitCode)) expect(readme).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
});

test("what .ci/run does is what the README says", () => {
  for (const step of ["npm ci", "bin/kmend doctor --install", "npm test"]) {
    expect(read(".ci/run")).toContain(step);
    expect(readme).toContain(step);
  }
});
