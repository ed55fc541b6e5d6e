import { expect, test } from "vitest";
import { partOfPlace } from "../../src/build/image-parts/image-parts.ts";

test.each([
  ["drivers/net/phy/qt2025.rs", /Rust code, which kmend neither compiles nor compares/],
  ["rust/kernel/lib.rs", /Rust code/],
  ["arch/x86/kernel/vmlinux.lds.S", /a linker script/],
])("%s is a part of the image that no patch reaches", async (path, part) => {
  expect(await partOfPlace(path, "/nowhere")).toMatchObject({
    part: expect.stringMatching(part),
    advice: expect.stringContaining("leave this file out"),
  });
});

test.each(["kernel/fork.c", "drivers/net/phy/parser.c"])("%s is a unit by its place", async (path) => {
  expect(await partOfPlace(path, "/nowhere")).toBeUndefined();
});
