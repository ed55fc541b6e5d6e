import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { activationScript } from "../../src/package/formats/activation-script.ts";

const kernel = "aa".repeat(20);
const target = "bb".repeat(20);
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-scriptlet-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string | Buffer): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

/** What the scriptlet says of a module; empty when it may be loaded. */
function unproven(...words: readonly string[]): string {
  const script = `package=p version=1 activate=yes modules=\n${activationScript.replaceAll("/sys/", `${root}/sys/`)}`;
  const call = `${script}\nunproven ${words.join(" ")} || :`;
  return execFileSync("sh", ["-c", call], { encoding: "utf8" }).trim();
}

test("a module for another build of the running kernel is not loaded by a package", () => {
  write("sys/kernel/notes", Buffer.from(`0400000014000000${"03000000474e5500"}${kernel}`, "hex"));
  expect(unproven("fix", kernel, "-")).toBe("");
  expect(unproven("fix", target, "-")).toBe(`fix is proven for another build of this kernel (${target})`);
  expect(unproven("fix", "-", "-"), "one that does not tell").toBe("");
});

test("nor one for another build of a module that is loaded", () => {
  write("sys/module/fuse/notes/.note.gnu.build-id", Buffer.from(target, "hex"));
  expect(unproven("fix", "-", `fuse:${target}`)).toBe("");
  expect(unproven("fix", "-", `ext4:${kernel},fuse:${kernel}`)).toBe(
    `fix is proven for another build of the module fuse (${kernel})`,
  );
  expect(unproven("fix", "-", `ext4:${kernel}`), "one that is not loaded").toBe("");
});

test("a module that has no build id is told by the digest of its sources", () => {
  write("sys/module/zram/srcversion", "0123456789ABCDEF01234567\n");
  expect(unproven("fix", "-", "zram::0123456789ABCDEF01234567")).toBe("");
  expect(unproven("fix", "-", `zram:${kernel}:0123456789ABCDEF01234567`), "its build id is not known").toBe("");
  for (const row of ["zram::FFFFFFFFFFFFFFFFFFFFFFFF", `zram:${kernel}:FFFFFFFFFFFFFFFFFFFFFFFF`])
    expect(unproven("fix", "-", row)).toBe(
      "fix is proven for another build of the module zram (FFFFFFFFFFFFFFFFFFFFFFFF)",
    );
  write("sys/module/zram/notes/.note.gnu.build-id", Buffer.from(target, "hex"));
  expect(unproven("fix", "-", `zram:${target}:FFFFFFFFFFFFFFFFFFFFFFFF`), "the build id says more").toBe("");
});
