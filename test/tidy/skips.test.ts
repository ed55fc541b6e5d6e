import { afterEach, expect, test, vi } from "vitest";
import UnexpectedSkips from "../skips.ts";

const exitCode = process.exitCode;
afterEach(() => {
  process.exitCode = exitCode;
  vi.restoreAllMocks();
});

/** What the reporter says of a run in which one test was left out. */
function afterSkipping(file: string, fullName: string): { readonly failed: boolean; readonly said: string } {
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  process.exitCode = 0;
  const module = { relativeModuleId: file, children: { allTests: (): unknown[] => [{ module, fullName }] } };
  new UnexpectedSkips().onTestRunEnd([module as never]);
  return { failed: process.exitCode === 1, said: said.mock.calls.flat().join("\n") };
}

test("a test that may not be left out fails the run by its name", () => {
  const { failed, said } = afterSkipping("test/integration/try.test.ts", "a patch > is tried");
  expect(failed).toBe(true);
  expect(said).toContain("test/integration/try.test.ts: a patch > is tried");
});

test.each([
  ["test/integration/host-boot.test.ts", "the service > loads at boot"],
  ["test/diff/architectures.test.ts", "objects of loongarch64 > are written as they were read"],
])("%s may be left out", (file, name) => {
  expect(afterSkipping(file, name)).toEqual({ failed: false, said: "" });
});
