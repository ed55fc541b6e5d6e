import { expect, test } from "vitest";
import { moduleName } from "../../src/patch-module/module-name.ts";

test.each([
  [["fix.patch"], "livepatch-fix"],
  [["a/b/0001-net: fix it.diff"], "livepatch-0001-net--fix-it"],
  [["fix"], "livepatch-fix"],
  [["fix.patch.patch"], "livepatch-fix-patch"],
  [["one.patch", "two.patch"], "livepatch-patch"],
  [["ä.patch"], "livepatch--"],
  [[`${"x".repeat(80)}.patch`], `livepatch-${"x".repeat(45)}`],
])("patches %j make the module %s", (patches, name) => {
  expect(moduleName(undefined, patches)).toBe(name);
  expect(moduleName(undefined, patches).length).toBeLessThanOrEqual(55);
});

test("a given name is taken as it is", () => {
  expect(moduleName("my_fix-2", ["fix.patch"])).toBe("my_fix-2");
  expect(moduleName("x".repeat(55), [])).toBe("x".repeat(55));
});

test.each(["", "a b", "a/b", "a.ko", "ä", "x".repeat(56)])("%j cannot be a module's name", (name) => {
  expect(() => moduleName(name, [])).toThrow(expect.objectContaining({ code: "MODULE_NAME", exitCode: 2 }));
});
