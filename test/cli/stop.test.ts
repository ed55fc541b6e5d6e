import { expect, test } from "vitest";
import { kmend } from "./captured.ts";

test.each([
  [[], "a function is missing"],
  [["f", "--for", "1h", "--install"], "give one of them"],
  [["f", "--for", "soon"], "no duration"],
  [["f", "-o", "stop"], "ends in .ko"],
  [["f", "--kernel", "6.1.0-9-amd64"], "add --output FILE.ko"],
  [["f", "-o", "x.ko", "--for", "1h"], "--output loads nothing"],
  [["f", "-o", "x.ko", "--install"], "--output loads nothing"],
  [["f", "--suggest", "ptrace"], "no function goes with it"],
  [["f", "-o", "x.ko", "--cve", "2026-1"], "not the number of a vulnerability"],
  [["f g", "-o", "x.ko"], "does not name a function"],
  [["--expire", "anything"], "what the timer of --for gives it"],
])("kmend stop %j is wrong usage", async (words, message) => {
  const { exitCode, stderr } = await kmend("stop", ...words);
  expect(stderr).toContain(message);
  expect(exitCode).toBe(2);
});

test("try takes a stop in place of files, and one of them", async () => {
  expect(await kmend("try")).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--stop FUNCTION") });
  const both = await kmend("try", "fix.patch", "--stop", "f");
  expect(both).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("no patch and no module") });
});

test("the end of a load that is gone is nothing to do", async () => {
  const { exitCode, stdout } = await kmend("stop", "--expire", "stop_nothing,2026-01-01T00:00:00.000Z");
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: "stop_nothing is not loaded any more, or was loaded again\n",
  });
});
