import { expect, test } from "vitest";
import { readPatchOptions } from "../../src/change/patch-options.ts";

test.each<[readonly string[], readonly string[], number | "all"]>([
  [[], ["-p1"], 1],
  [["-p0"], ["-p0"], 0],
  [["-p 2", "-R"], ["-p", "2", "-R"], 2],
  [["-lRp3"], ["-lRp3"], 3],
  [["--strip=4"], ["--strip=4"], 4],
  [["-R"], ["-R"], "all"],
  [["-F3", "-p1"], ["-F3", "-p1"], 1],
])("%j", (given, words, strip) => {
  expect(readPatchOptions(given)).toEqual({ words, strip });
});

test.each([
  "-o/etc/passwd",
  "--output=x",
  "--outp=x",
  "-d /",
  "-Rd/",
  "--directory=/",
  "-i x",
  "-r/x",
  "-b",
  "x.patch",
  "-px",
])("%s is refused", (option) => {
  expect(() => readPatchOptions([option])).toThrow(/cannot be given/);
});
