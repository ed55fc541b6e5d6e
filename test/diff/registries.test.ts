import { expect, test } from "vitest";
import { diffC, diffPatched } from "./diff-units.ts";

test.each([
  [
    "an init call",
    '__attribute__((section(".initcall6.init"))) int (*__initcall__kmod_x__123_45_new6)(void) = fresh;',
    "INITCALL",
  ],
  [
    "a module parameter",
    'const char __param_str_x[] = "x"; static __used __attribute__((section("__param"))) const struct { const char *name; } __param_x = { __param_str_x };',
    "MODULE_PARAMETER",
  ],
])("%s that the patch adds is refused", async (_, declaration, code) => {
  const diff = await diffPatched(`
    int fresh(void) { return take(2); }
    #ifdef PATCHED
    ${declaration}
    #endif
  `);
  expect(diff.refusals.map((refusal) => refusal.split(" ")[0])).toEqual([code]);
});

test("a new export of a new function is carried; one of an existing function is noted", async () => {
  const entry = (name: string): string =>
    `__used __attribute__((section("___ksymtab+${name}"))) static const unsigned long __ksymtab_${name} = (unsigned long)${name};`;
  const diff = await diffPatched(`
    int old(void) { return take(1); }
    #ifdef PATCHED
    int fresh(void) { return take(2); }
    ${entry("fresh")}
    ${entry("old")}
    #endif
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(expect.arrayContaining(["fresh", "__ksymtab_fresh"]));
  expect(diff.carried).not.toContain("__ksymtab_old");
  expect(diff.changes.notes.join()).toMatch(/old becomes exported/);
});

test("registrations whose counter in the name moved are the same", async () => {
  const unit = (line: number): string => `
    int start(void) { return take(2); }
    __used __attribute__((section(".initcall6.init"))) static int (*__initcall__kmod_x__${line}_${line}_start6)(void) = start;
    __used __attribute__((section(".discard.addressable"))) static void *__UNIQUE_ID___addressable_start${line} = start;
  `;
  expect((await diffC(unit(104), unit(2117))).refusals).toEqual([]);
});

test("an init call that moves to another level is refused", async () => {
  const unit = (level: number): string => `
    int start(void) { return take(2); }
    __used __attribute__((section(".initcall${level}.init"))) static int (*__initcall__kmod_x__9_9_start)(void) = start;
  `;
  expect((await diffC(unit(6), unit(7))).refusals.map((refusal) => refusal.split(" ")[0])).toEqual(["INITCALL"]);
});

test("constants that are only named like a registry are carried", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    static const int kunit_tab[8] = { 1, 2, 3 }, ctors_x[8] = { 4, 5, 6 };
    int f(int i) { return take(kunit_tab[i] + ctors_x[i]); }
    #else
    int f(int i) { return take(i); }
    #endif
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["ctors_x", "f", "kunit_tab"]);
});

test("a test suite of KUnit that the patch adds is refused", async () => {
  const diff = await diffPatched(`
    int fresh(void) { return take(2); }
    #ifdef PATCHED
    __used __attribute__((section(".kunit_test_suites"))) static void *suites[] = { (void *)fresh };
    #endif
  `);
  expect(diff.refusals.map((refusal) => refusal.split(" ")[0])).toEqual(["SECTION_CHANGED"]);
});
