import { expect, test } from "vitest";
import { insertFailure } from "../../src/host/load/insert-failure.ts";

/** What insmod of kmod and of busybox print, with the exit code that it means. */
test.each([
  ["insmod: ERROR: could not insert module a.ko: Key was rejected by service", "LOAD_FORBIDDEN", 7],
  ["insmod: can't insert 'a.ko': Required key not available", "LOAD_FORBIDDEN", 7],
  ["insmod: ERROR: could not insert module a.ko: Operation not permitted", "LOAD_FORBIDDEN", 7],
  ["insmod: ERROR: could not insert module a.ko: Invalid module format", "LOAD_FAILED", 1],
  ["insmod: can't insert 'a.ko': Device or resource busy", "LOAD_FAILED", 1],
  ["insmod: can't insert 'a.ko': unknown symbol in module, or unknown parameter", "LOAD_FAILED", 1],
  ["insmod: something new", "LOAD_FAILED", 1],
])("%s", (said, code, exitCode) => {
  const error = insertFailure("a.ko", said);
  expect(error).toMatchObject({ code, exitCode });
  expect(error.why).toContain(said);
  expect(error.hint).not.toBe("");
});
