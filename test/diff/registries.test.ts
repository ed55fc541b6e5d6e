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

/** What SYSCALL_DEFINE() makes with CONFIG_FTRACE_SYSCALLS; `entries` are what the lists point at. */
const syscall = (name: string, body: string, entries: string): string => `
  struct event { void *data; };
  static struct event __used event_enter__${name} = { "${name}" };
  __used __attribute__((section("_ftrace_events"))) static struct event *__event_enter__${name} = ${entries};
  __used __attribute__((section("__syscalls_metadata"))) static struct event *__p_syscall_meta__${name} = ${entries};
  static noinline long __se_sys_${name}(long x) { ${body} }
  long __x64_sys_${name}(long *regs) { return __se_sys_${name}(regs[0]); }
`;

test("entries about a system call that changed stay as the kernel has them, those of any other are refused", async () => {
  const before = syscall("uname", "return take(x);", "&event_enter__uname");
  const changed = await diffC(before, syscall("uname", "return take(x + 1);", "(void *)0"));
  expect(changed.refusals).toEqual([]);
  expect(changed.redirected).toEqual(["__se_sys_uname"]);
  expect(changed.changes.notes).toEqual([expect.stringContaining("keeps what it knows of the system call uname")]);
  const unchanged = await diffC(before, syscall("uname", "return take(x);", "(void *)0"));
  expect(unchanged.refusals).toEqual([
    "SECTION_CHANGED __event_enter__uname",
    "SECTION_CHANGED __p_syscall_meta__uname",
  ]);
  const fresh = await diffC("int other(void) { return take(2); }", before);
  expect(fresh.refusals).toEqual(["SECTION_CHANGED __event_enter__uname", "SECTION_CHANGED __p_syscall_meta__uname"]);
});

test("marks of kpatch's own macros are understood", async () => {
  const unit = (mark: string, value: number): string => `
    int ignored(int x) { return take(x) + ${value}; }
    int changed(int x) { return take(x) * ${value}; }
    __used __attribute__((section("registry_table"))) static const int entry = ${value};
    static int before(void *object) { return 0; }
    ${mark}
  `;
  const marks = `
    __used __attribute__((section(".kpatch.ignore.functions"))) void *__kpatch_ignore_func_ignored = ignored;
    __used __attribute__((section(".kpatch.ignore.sections"))) char *__UNIQUE_ID_kpatch_ignore_section_9 = "__some_of_table";
    __used __attribute__((section(".kpatch.callbacks.pre_patch"))) static void *kpatch_pre_patch_data = before;
    __used __attribute__((section("__some_of_table"))) static const int listed = 5;
  `;
  const diff = await diffC(unit("", 3), unit(marks, 3).replace("take(x) + 3", "take(x) + 4"));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual([]);
  expect(diff.changes.callbacks.map(({ kind, function: { name } }) => `${kind} ${name}`)).toEqual(["pre_patch before"]);
  expect(diff.changes.notes.join()).toContain("ignored changed and is left out");
});
