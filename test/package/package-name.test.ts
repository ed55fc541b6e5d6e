import { expect, test } from "vitest";
import { kernelRelease } from "../../src/cli/compat/kpatch-package-builder.ts";
import {
  type Architecture,
  architectureNamed,
  checked,
  debianName,
  defaultProfile,
  moduleProfileName,
  nameFrom,
  patchProfileName,
} from "../../src/package/package-name.ts";

const x86 = architectureNamed("amd64") as Architecture;

test("names of the kpatch-module profile", () => {
  expect(moduleProfileName("kpatch-livepatch-test.ko")).toBe("kpatch-module-livepatch-test");
  expect(moduleProfileName("livepatch-fix.ko")).toBe("kpatch-module-fix");
  expect(moduleProfileName("fix.ko")).toBe("kpatch-module-fix");
});

test("names of the kpatch-patch profile are those of Red Hat's packages", () => {
  expect(patchProfileName("5.14.0-362.8.1.el9_3.x86_64", x86)).toBe("kpatch-patch-5_14_0-362_8_1");
  expect(patchProfileName("4.18.0-80.el8.x86_64", x86)).toBe("kpatch-patch-4_18_0-80");
  expect(patchProfileName("6.1.0-56-amd64", x86)).toBe("kpatch-patch-6_1_0-56-amd64");
});

test("dpkg's alphabet", () => {
  expect(debianName("kpatch-patch-5_14_0-X")).toBe("kpatch-patch-5-14-0-x");
  expect(nameFrom("fix $(id); 'x'.patch")).toBe("fix-id-x-.patch");
  expect(nameFrom("../..")).toBe("patch");
});

test("the profile follows the kernel's family", () => {
  expect(defaultProfile(["5.14.0-362.8.1.el9_3.x86_64"])).toBe("kpatch-patch");
  expect(defaultProfile(["6.1.0-56-amd64"])).toBe("kpatch-module");
});

test("kernels are named without architecture as Red Hat does, or as uname -r", () => {
  expect(kernelRelease("3.10.0-229.el7", x86)).toBe("3.10.0-229.el7.x86_64");
  expect(kernelRelease("5.14.0-362.8.1.el9_3", x86)).toBe("5.14.0-362.8.1.el9_3.x86_64");
  expect(kernelRelease("3.10.0-229.el7.x86_64", x86)).toBe("3.10.0-229.el7.x86_64");
  expect(kernelRelease("6.1.0-56-amd64", x86)).toBe("6.1.0-56-amd64");
});

test.each([
  ["version", "1-2"],
  ["version", "1%{nil}"],
  ["version", ""],
  ["version", "a"],
  ["release", "1\n%post"],
  ["name", "a b"],
  ["name", "../x"],
  ["name", "-x"],
  ["kernel", "6.1/../.."],
  ["kernel", "$(id)"],
  ["kernel", "'"],
  ["cve", "CVE-2024-1"],
  ["cve", "cve-2024-12345 "],
] as const)("%s %j is refused", (kind, value) => {
  expect(() => checked(kind, value)).toThrow(expect.objectContaining({ code: "PACKAGE_VALUE", exitCode: 2 }));
});
