import { expect, test } from "vitest";
import { namedIn, sourceNameOf } from "../../bench/replace/function-names.ts";
import { guestPrograms } from "../../bench/replace/guest-programs.ts";
import { tracedFunctions } from "../../bench/replace/traced-functions.ts";
import { sourceFunctions } from "../../src/change/source-functions.ts";
import { compileC } from "../fixtures/compile.ts";

test.each([
  ["foo.constprop.0", "foo"],
  ["foo.isra.3.cold", "foo"],
  ["__x64_sys_pipe2", "pipe2"],
  ["__do_compat_sys_pipe2", "pipe2"],
  ["__se_sys_other", "other"],
  ["__x64_sys_known", "__x64_sys_known"],
])("%s is %s in the source", (name, source) => {
  expect(sourceNameOf(name, [{ name: "foo" }, { name: "pipe2" }, { name: "__x64_sys_known" }])).toBe(source);
});

test("what a function mentions may be inlined into it", () => {
  const functions = sourceFunctions(
    "int inner(void)\n{\n}\nint other(void)\n{\n}\nint outer(void)\n{\n\treturn inner();\n}\n",
  );
  expect(namedIn("outer", functions, functions)).toEqual(["inner"]);
  expect(namedIn("nowhere", functions, functions)).toEqual([]);
});

test("functions that ftrace can redirect are told from the others", () => {
  const object = compileC(
    `int called(int a) { return a + 1; }
     static noinline int own(int a) { return a + called(a); }
     int user(int a) { return own(a); }
     int also_user(int a) __attribute__((alias("user")));
     int not_traced(int a) __attribute__((no_instrument_function));
     int not_traced(int a) { return a; }
     int at_boot(int a) __attribute__((section(".init.text")));
     int at_boot(int a) { return a; }`,
    ["-fcf-protection=branch"],
  );
  expect(tracedFunctions(object)).toEqual([["also_user", "user"], ["called"], ["own"]]);
});

test("a program comes with its libraries and their loader", async () => {
  const { files, missing } = await guestPrograms(["tc", "no-such-program"]);
  expect(missing).toEqual(["no-such-program"]);
  expect([...files.keys()]).toEqual(expect.arrayContaining(["kmend/programs/tc", "kmend/programs/libc.so.6"]));
  expect([...files.keys()].some((path) => /^lib64\/ld-linux/.test(path))).toBe(true);
});
