import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { commandsOfReadme, FreshMachine } from "./fresh-machine.ts";
import { Scratch } from "./stock-kernel.ts";

/** `1` makes roots of Debian releases, builds and boots in them; `full` runs the whole test command there too, which takes an hour. */
const asked = process.env["KMEND_LONG_TESTS"] === "1";
const full = process.env["KMEND_FRESH_TESTS"] === "full";
const scratch = new Scratch();
afterAll(() => scratch.remove());

const [first, second] = commandsOfReadme() as [string, string];

test("the README has the two commands that are run on fresh machines", () => {
  expect(first).toMatch(/^npm ci && bin\/kmend try \S+\.patch --kernel newest --probe '.*'$/);
  expect(second).toBe("apt-get update && npm ci && bin/kmend doctor --install && npm test");
});

describe.skipIf(!asked).each(["bookworm", "trixie"])("on a fresh %s", (suite) => {
  let machine: FreshMachine;

  test("the first command builds a patch module and tries it", { timeout: 3_600_000 }, () => {
    machine = new FreshMachine(join(scratch.folder(), "root"), suite);
    const { exitCode, output } = machine.run(`apt-get update -q && ${first}`);
    expect(exitCode, output.slice(-4000)).toBe(0);
    expect(output).toMatch(/^passed: livepatch_meminfo_string works on /m);
  });

  test("the second command installs what the tests need, and passes them", { timeout: 7_200_000 }, () => {
    const command = full ? second : second.replace(/npm test$/, "npm run build && npm run unit");
    const { exitCode, output } = machine.run(command);
    expect(exitCode, output.slice(-8000)).toBe(0);
    expect(output).toMatch(/Tests .*\d+ passed/);
    expect(machine.run("bin/kmend doctor --json").output).toContain('"ready": true');
  });
});
