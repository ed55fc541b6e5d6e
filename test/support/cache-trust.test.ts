import { chmodSync, chownSync, lchownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cachePath, cacheRoot } from "../../src/support/cache.ts";
import { requireTrustedFolder } from "../../src/support/cache-trust.ts";

let top: string;
let root: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "kmend-trust-"));
  root = join(top, "cache");
  mkdirSync(join(root, "kernels/0123/toolchain-1"), { recursive: true });
  writeFileSync(join(root, "kernels/0123/commands"), "true\n");
  vi.stubEnv("KMEND_CACHE", root);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(top, { recursive: true });
});

/** As seen by another user, without becoming one. */
function asUser(uid: number): void {
  vi.spyOn(process, "geteuid").mockReturnValue(uid);
}

test("a cache of the user's own is taken, also behind a link, and one that is not there yet", () => {
  expect(cacheRoot()).toBe(root);
  symlinkSync(root, join(top, "link"));
  vi.stubEnv("KMEND_CACHE", join(top, "link"));
  expect(cacheRoot()).toBe(join(top, "link"));
  vi.stubEnv("KMEND_CACHE", join(top, "new/cache"));
  expect(cacheRoot()).toBe(join(top, "new/cache"));
});

test.each([
  ["the cache", "", 0o777, "everybody may write to it"],
  ["the cache, by its group", "", 0o775, /^group \d+ may write to it/],
  ["a folder in it", "kernels", 0o777, "everybody may write to it"],
  ["a folder of a compiler", "kernels/0123/toolchain-1", 0o1777, "everybody may write to it"],
  ["a file of commands", "kernels/0123/commands", 0o666, "everybody may write to it"],
  ["the folder above", "..", 0o777, "everybody may write to it"],
])("%s that others may write is refused", (_, path, mode, why) => {
  const place = join(root, path);
  chmodSync(place, mode);
  const error = failureOf();
  expect(error).toMatchObject({ code: "CACHE_UNTRUSTED", where: place, exitCode: 5 });
  expect(error.why).toMatch(why);
  expect(error.hint).toContain("KMEND_CACHE=DIR");
  expect(cachePath()).toBe(root);
});

test("a cache of another user is refused, for root too", () => {
  if (process.geteuid?.() === 0) {
    for (const path of ["", "kernels", "kernels/0123/commands"]) {
      chownSync(join(root, path), 65534, 65534);
      expect(failureOf()).toMatchObject({ code: "CACHE_UNTRUSTED", where: join(root, path) });
      chownSync(join(root, path), 0, 0);
    }
    chownSync(top, 65534, 65534);
    expect(failureOf()).toMatchObject({
      code: "CACHE_UNTRUSTED",
      where: top,
      why: expect.stringContaining("user 65534"),
    });
    chownSync(top, 0, 0);
  } else {
    asUser(12_345);
    expect(failureOf()).toMatchObject({ code: "CACHE_UNTRUSTED" });
  }
});

test("a link that somebody else owns, on the way or in the cache, is refused", () => {
  if (process.geteuid?.() !== 0) return;
  mkdirSync(join(top, "theirs"));
  symlinkSync(root, join(top, "theirs/link"));
  chownSync(join(top, "theirs"), 65534, 65534);
  vi.stubEnv("KMEND_CACHE", join(top, "theirs/link"));
  expect(failureOf()).toMatchObject({ code: "CACHE_UNTRUSTED", where: join(top, "theirs") });
  symlinkSync(root, join(top, "link"));
  lchownSync(join(top, "link"), 65534, 65534);
  vi.stubEnv("KMEND_CACHE", join(top, "link"));
  expect(failureOf()).toMatchObject({ code: "CACHE_UNTRUSTED", where: join(top, "link") });
  vi.stubEnv("KMEND_CACHE", root);
  symlinkSync(join(top, "theirs"), join(root, "images"));
  expect(failureOf()).toMatchObject({ code: "CACHE_UNTRUSTED", where: join(top, "theirs") });
});

test("programs of a tree and recorded commands of units are looked at before they are run", async () => {
  const search = process.env.PATH ?? "";
  const kernel = join(root, "kernels/0123");
  const command = join(kernel, "toolchain-1/units/a.json");
  const program = join(kernel, "tree/tools/objtool/objtool");
  for (const path of [command, program]) {
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, "true\n");
    await requireTrustedFolder(kernel, 4);
    chmodSync(path, 0o666);
    await expect(requireTrustedFolder(`${kernel}/.`, 4)).rejects.toMatchObject({
      code: "CACHE_UNTRUSTED",
      where: path,
    });
    // The same without find(1).
    vi.stubEnv("PATH", top);
    await expect(requireTrustedFolder(`${kernel}/./.`, 4)).rejects.toMatchObject({ where: path });
    vi.stubEnv("PATH", search);
    chmodSync(path, 0o644);
  }
});

function failureOf(): { readonly why: string; readonly hint: string } {
  try {
    cacheRoot();
  } catch (error) {
    return error as { why: string; hint: string };
  }
  throw new Error("it was taken");
}
