import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { compareObjects, type DiffResult } from "../../src/build/compare-objects.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC, kernelPrelude } from "../fixtures/compile.ts";
import { diffC } from "./diff-units.ts";

type Compile = (source: string, flags: readonly string[]) => Uint8Array;

const crossed: readonly Machine[] = [machines.aarch64, machines.ppc64le, machines.s390x, machines.loongarch64];
const prelude = kernelPrelude.replace(/#line 1\n$/, "");

/** Compilers for the five architectures, as far as they are installed. */
const builds: readonly (readonly [string, Compile])[] = [
  ["gcc", (source, flags) => compileC(source, flags)],
  // The archive of each release has some of them.
  ...["clang-14", "clang-19"]
    .filter((name) => spawnSync(name, ["--version"]).status === 0)
    .map((name): [string, Compile] => [name, (source, flags) => compileC(source, flags, name)]),
  ...crossed
    .filter((machine) => toolchain(machine) !== undefined)
    .map((machine): [string, Compile] => [
      machine.name,
      (source, flags) => compileFor(machine, [...flags, "-w"], `${prelude}${source}`),
    ]),
];

/** What kernel headers bring. The table of WARN() is as the kernel's assembler has it. */
const header = `
extern void __might_sleep(const char *, int);
extern void lockdep_rcu_suspicious(const char *, int, const char *);
extern void set_limit(const char *, int);
extern void start(void *, int);
struct _ddebug { const char *modname, *function, *filename, *format; unsigned int lineno:18, class_id:6, flags:8; } __attribute__((aligned(8)));
extern void __dynamic_pr_debug(struct _ddebug *, const char *, ...);
#define might_sleep() __might_sleep(__FILE__, __LINE__)
#define pr_debug(text) do { \\
	static struct _ddebug __used __attribute__((section("__dyndbg"))) descriptor = { "m", __func__, __FILE__, text, __LINE__, 0, 1 }; \\
	if (descriptor.flags) __dynamic_pr_debug(&descriptor, text); } while (0)
#define bug_entry_of(line, flags) asm volatile("1: .long 0\\n.pushsection __bug_table,\\"aw\\"\\n.balign 4\\n" \\
	".long 1b - ., .Lfile - .\\n.short " line ", " flags "\\n.popsection")
#define bug_entry(line) bug_entry_of(line, "1")
#define text_of(x) #x
#define line_text(x) text_of(x)
#define WARN() bug_entry(line_text(__LINE__))
asm(".pushsection .rodata.str,\\"aMS\\",%progbits,1\\n.Lfile: .asciz \\"unit.c\\"\\n.popsection");
`;

interface Unit {
  /** Empty lines before everything, and between the functions. */
  readonly before?: number;
  readonly between?: number;
  readonly body?: string;
  readonly flags?: readonly string[];
}

const everyKind = `
int sleeper(int x) { might_sleep(); return take(x) + 1; }
int warner(int x) { if (x > 3) WARN(); return take(x) + 2; }
BETWEEN
int suspicious(int x) { if (x) lockdep_rcu_suspicious(__FILE__, __LINE__, "text"); return take(x) + 3; }
int prints(int x) { printk("%s:%d: %d", __func__, __LINE__, x); return x; }
int debugs(int x) { pr_debug("debugged"); return take(x) + 4; }
int __init starts(int x) { might_sleep(); WARN(); return take(x) + 5; }
int other(int x) { return take(x) + 6; }
`;

function sourceOf({ before = 0, between = 0, body = everyKind }: Unit): string {
  const text = body.replace("BETWEEN", "\n".repeat(between));
  return `${header}\n#line 1 "unit.c"\n${"\n".repeat(before)}${text}`;
}

const objects = new Map<string, Uint8Array>();

/** Several tests have one original. */
function compiled(compile: Compile, source: string, flags: readonly string[]): Uint8Array {
  const key = `${builds.findIndex(([, each]) => each === compile)} ${flags.join(" ")} ${source}`;
  const object = objects.get(key) ?? compile(source, flags);
  objects.set(key, object);
  return object;
}

async function diff(compile: Compile, before: Unit, after: Unit, lines?: "strict" | "moved"): Promise<DiffResult> {
  const names = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
  const [a, b] = [before, after].map((unit) => compiled(compile, sourceOf(unit), unit.flags ?? []));
  const { result } = await compareObjects(
    a as Uint8Array,
    b as Uint8Array,
    lines === undefined ? names : { ...names, lines },
  );
  return result;
}

/** `CODE what`, and changed functions. */
function found({ refusals, changedFunctions, newFunctions }: DiffResult): string[] {
  return [
    ...refusals.map(({ code, what }) => `${code} ${what}`),
    ...changedFunctions.map(({ name }) => name),
    ...newFunctions,
  ];
}

/** Everything in which a number changes from the line that it is at to the line that it is at then, and is not, or need not be, one. */
const attacks = `
int sleeper(int x) { might_sleep(); return take(x) + 1; }
int argument(int x) { return take(__LINE__) + x; }
int limit(int x) { set_limit(__func__, __LINE__); return x; }
int starter(void *x) { start(x, __LINE__); return 1; }
int adds(int x) { return take(x) + __LINE__; }
int compares(int x) { return x == __LINE__ ? take(x) : 3; }
int returns(int x) { might_sleep(); return __LINE__; }
int stores(int *x) { *x = __LINE__; __might_sleep(__FILE__, __LINE__); return 1; }
int elsewhere(int x) { printk("%s:%d", __FILE__, ELSEWHERE); return x; }
int flags(int x) { if (x > 3) bug_entry_flags(line_text(__LINE__)); return take(x); }
int warner(int x) { if (x > 3) WARN(); return take(x) + 2; }
int both(int x) { might_sleep(); return take(x) + MORE; }
`;
const attacked = [
  "argument",
  "limit",
  "starter",
  "adds",
  "compares",
  "returns",
  "stores",
  "elsewhere",
  "flags",
  "both",
];

/** Calls whose function is not known, and which show by themselves that it takes a line. */
const shown = `
int prints(int x) { printk("at %d", __LINE__); return x; }
int first(void *x) { start(x, __LINE__); return 1; }
int second(void *x) { start(x, __LINE__); return 2; }
int third(void *x) { start(x, __LINE__); return 3; }
int limits(int x) { set_limit(__func__, __LINE__); return x; }
int limits_too(int x) { set_limit(__func__, __LINE__); return x + 1; }
`;

describe.each(builds)("%s", (_, compile) => {
  describe.each([
    ["with line tables", ["-g"]],
    ["without line tables", []],
  ])("%s", (_, flags) => {
    test.each([
      [1, 0],
      [0, 1],
      [3000, 3],
    ])("%d lines before and %d between change no function", async (before, between) => {
      const result = await diff(compile, { flags }, { before, between, flags });
      expect(found(result)).toEqual([]);
      expect(result.outcome).toBe("unchanged");
      const moved = Object.fromEntries((result.movedLines ?? []).map(({ name, lines }) => [name, lines]));
      expect(moved.sleeper).toEqual(before === 0 ? undefined : [[2, 2 + before]]);
      expect(moved.suspicious).toEqual([[5, 5 + before + between]]);
      expect(moved.other).toBeUndefined();
    });

    test("they do with --lines strict", async () => {
      const result = await diff(compile, { flags }, { before: 1, flags }, "strict");
      expect(found(result)).toEqual(["INIT_CODE starts", "sleeper", "warner", "suspicious", "prints", "debugs"]);
    });

    test("the one function that changes beside them is reported", async () => {
      const body = everyKind.replace("take(x) + 2", "take(x) + 7");
      expect(found(await diff(compile, { flags }, { before: 5, body, flags }))).toEqual(["warner"]);
    });

    test("a number that only happens to be the line stays a change", async () => {
      const [body, after] = [
        ["50", "1", "5"],
        // Without line tables, a message that follows the other lines is taken to have one.
        [flags.length > 0 ? "57" : "58", "2", "6"],
      ].map(([elsewhere, flag, more]) =>
        attacks
          .replace("ELSEWHERE", elsewhere as string)
          .replace("bug_entry_flags(line_text(__LINE__))", `bug_entry_of(line_text(__LINE__), "${flag}")`)
          .replace("MORE", more as string),
      ) as [string, string];
      expect(found(await diff(compile, { body, flags }, { before: 7, body: after, flags }))).toEqual(attacked);
    });

    test("calls that all give their own line show that it is one, where line tables tell it", async () => {
      const changed = found(await diff(compile, { body: shown, flags }, { before: 2, body: shown, flags }));
      expect(changed).toEqual(flags.length > 0 ? [] : ["prints", "first", "second", "third", "limits", "limits_too"]);
      const twice = shown.replace(/.*third.*\n/, "int third(void *x) { start(x, 7); return 3; }\n");
      const some = found(await diff(compile, { body: twice, flags }, { before: 2, body: twice, flags }));
      expect(some.filter((name) => name === "first" || name === "second")).toEqual(["first", "second"]);
    });
  });
});

const [, plain] = builds[0] as readonly [string, Compile];

test.each([
  [
    "lines that move against their order",
    [],
    'int between(int x) { __might_sleep("unit.c", N); return x; }',
    "2",
    "60",
  ],
  ["a line far from its call", ["-g"], 'int between(int x) { __might_sleep("unit.c", N); return x; }', "40", "41"],
  [
    "lines that line tables contradict",
    ["-g"],
    'int between(int x) { __might_sleep("unit.c", N); return x; }',
    "3",
    "9",
  ],
  ["a message about another place", [], 'int between(int x) { printk("%s:%d", "unit.c", N); return x; }', "3", "60"],
  ["a message of another file", [], 'int between(int x) { printk("%s:%d", "other.c", N); return x; }', "3", "4"],
  [
    "a table that is written",
    ["-g"],
    "int between(int x) { static int lines[] = { N, 2 }; return take(lines[x]++); }",
    "3",
    "4",
  ],
])("%s", async (_, flags, text, before, after) => {
  const body = `int first(int x) { if (x > 3) WARN(); return take(x); }\n${text}\nint last(int x) { if (x > 3) WARN(); return take(x) + 1; }`;
  const result = await diff(
    plain,
    { body: body.replace(/\bN\b/, before), flags },
    { before: 1, body: body.replace(/\bN\b/, after), flags },
  );
  expect(found(result)).toEqual([expect.stringMatching(/^(between|DATA_CHANGED lines\.\d)$/)]);
});

test("line tables of one object alone, or damaged ones, do not make a message's number a line", async () => {
  const body = 'int first(int x) { printk("%s:%d", __FILE__, __LINE__); return take(x); }';
  expect(found(await diff(plain, { body, flags: ["-g"] }, { before: 1, body, flags: [] }))).toEqual(["first"]);
});

test("a build, which gives both objects equal lines, takes every line as code", async () => {
  const unit = (lines: number): string =>
    `${header}\n#line 1 "unit.c"\n${"\n".repeat(lines)}int f(int x) { might_sleep(); return take(x); }`;
  expect((await diffC(unit(0), unit(1))).redirected).toEqual(["f"]);
});

test("a function whose body gcc took from an equal one has one line for all of it, and is unchanged by lines of a header", async () => {
  const unit = (lines: number): Uint8Array =>
    compileC(
      `${header}
#line ${1 + lines} "unit.h"
static inline void may_sleep(int x) { if (x) might_sleep(); }
#line 10 "unit.c"
int first(int x) { may_sleep(x); return take(x) + 1; }
int changes(int x) { may_sleep(x); return take(x) + 1 ${lines > 0 ? "+ take(x + 77)" : ""}; }
int last(int x) { may_sleep(x); return take(x) + 1; }
`,
      ["-g"],
    );
  const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
  const { result } = await compareObjects(unit(0), unit(3), input);
  expect(result.changedFunctions.map(({ name }) => name)).toEqual(["changes"]);
});
