import { describe, expect, test } from "vitest";
import type { BuildFacts } from "../../src/build/build-facts.ts";
import { keepLineNumbers } from "../../src/change/line-marks.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import type { Refusal } from "../../src/refusals/refusals.ts";
import { renderReport } from "../../src/report/page/document.tsx";
import type { Fate } from "../../src/report/report-types.ts";
import { sourceChangesOf } from "../../src/report/source-fates.ts";
import { definesName, linesWithoutComments, sourceTypes } from "../../src/report/source-lines.ts";
import { UnitDiff } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";
import { sampleReport } from "./sample-report.ts";

/** A source file before and after; of a unit unless its name ends in .h, .S or .txt. */
interface Edited {
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

const refusal = { why: "why not", hint: "do otherwise" } as const;

/** What became of each hunk, by file. */
async function fatesOf(files: readonly Edited[], refusals: readonly Refusal[] = [], header?: Edited) {
  const all = header === undefined ? files : [...files, header];
  const plans = await Promise.all(
    files
      .filter(({ path }) => path.endsWith(".c"))
      .map(async ({ path, before, after }) => {
        const compiled = (text: string, kept: string, included: string) => {
          const top = header === undefined ? "" : `#line 1 "${header.path}"\n${included}\n`;
          return compileC(`${top}#line 1 "${path}"\n${kept === text ? text : kept}`, ["-g"]);
        };
        const marked = Buffer.from(keepLineNumbers(Buffer.from(before), Buffer.from(after))).toString();
        const old = await readUnitObject(compiled(before, before, header?.before ?? ""));
        const fresh = await readUnitObject(compiled(after, marked, header?.after ?? ""));
        return Object.assign(new UnitDiff(old, fresh), { pair: { source: path, object: "vmlinux" } });
      }),
  );
  const change = {
    files: all.map(({ path, before, after }) => ({
      ...{ path, kind: "modified", original: Buffer.from(before), patched: Buffer.from(after) },
    })),
  };
  const facts = {
    session: { change },
    examination: { plans, units: { notBuilt: [] } },
    result: { refusals, outcome: refusals.length > 0 ? "refused" : "built" },
  } as unknown as BuildFacts;
  return sourceChangesOf(facts, ({ atom }) => `fn-${atom.name}`);
}

type Changes = Awaited<ReturnType<typeof fatesOf>>;

/** `kind: text` of all hunks of a file. */
function textsOf(changes: Changes, path: string): string[] {
  const fates = changes.find((file) => file.path === path)?.hunks.flatMap((hunk) => hunk.fates) ?? [];
  return fates.map(({ kind, text }: Fate) => `${kind}: ${text}`);
}

const gap =
  "extern int a1;\nextern int a2;\nextern int a3;\nextern int a4;\nextern int a5;\nextern int a6;\nextern int a7;\n";
const show = (body: string): string => `int show(int v)\n{\n${body}\treturn v;\n}\n`;

describe("functions of one name in two units", () => {
  const other = (line: string): string =>
    `static int next(int v)\n{\n\t${line};\n\treturn v;\n}\nint b_user(int v)\n{\n\treturn next(v) + take(v);\n}\nint (*b_ptr)(int) = next;\n`;

  test("only that of the unit is told of", async () => {
    const changes = await fatesOf([
      { path: "fs/a.c", before: other("v += 1").replaceAll("b_", "a_"), after: other("v += 7").replaceAll("b_", "a_") },
      { path: "fs/b.c", before: other("v += 1"), after: other("v = v + 1") },
    ]);
    expect(textsOf(changes, "fs/a.c")[0]).toBe("edited: next is replaced");
    expect(textsOf(changes, "fs/b.c")).toEqual(["unchanged: next has the same code as before in this kernel"]);
  });

  test("each leads to its own", async () => {
    const changes = await fatesOf(
      ["a", "b"].map((unit) => ({
        path: `fs/${unit}.c`,
        before: other("v += 1").replaceAll("b_", `${unit}_`),
        after: other("v += 7").replaceAll("b_", `${unit}_`),
      })),
    );
    const units = changes.flatMap(({ hunks }) => hunks.map(({ fates }) => fates[0]?.functions[0]?.unit));
    expect(units).toEqual(["fs/a.c", "fs/b.c"]);
  });
});

describe("new functions", () => {
  const helper =
    "noinline static int helper(int v)\n{\n\tint x = v;\n\n\tx = take(x) * 3;\n\tx -= 5;\n\tx ^= v;\n\treturn x;\n}\n\n";
  const before = show("\ttake(v);\n\tv++;\n");

  test("whose lines have the numbers of what follows are not said to be part of it", async () => {
    const after = helper + before.replace("v++", "v += helper(v)");
    const texts = textsOf(await fatesOf([{ path: "fs/a.c", before, after }]), "fs/a.c");
    expect(texts).toContain("new: helper is new and comes with the module");
    expect(texts.filter((text) => text.startsWith("inlined"))).toEqual([]);
  });

  test("that are inlined in a new function are not said to be replaced", async () => {
    const header = (body: string): string => `static inline int part(int v)\n{\n\t${body}\n}\n`;
    const user = (extra: string): string => `${show("\tv += part(v);\n")}${extra}`;
    const changes = await fatesOf(
      [
        {
          path: "fs/a.c",
          before: user(""),
          after: user("int added(int v)\n{\n\ttake(v);\n\treturn part(v) * 5;\n}\n"),
        },
      ],
      [],
      { path: "fs/a.h", before: header("return take(v);"), after: header("return take(v + 9);") },
    );
    expect(textsOf(changes, "fs/a.h")).toEqual([
      "inlined: part is part of show, which is replaced",
      "inlined: part is part of added, which is new",
    ]);
    expect(changes[1]?.hunks[0]?.fates[0]?.source).toEqual(["part"]);
  });
});

test("a function with a name of capitals is one, and what a macro makes is not told by its head", async () => {
  const capitals = (extra: string): string => `static inline int *PART(int *v)\n{\n${extra}\treturn v + 1;\n}\n`;
  const user = show("\tv += *PART(&v);\n\ttake(v);\n");
  const inlined = await fatesOf([
    { path: "fs/a.c", before: capitals("") + user, after: capitals("\ttake(*v);\n") + user },
  ]);
  expect(textsOf(inlined, "fs/a.c")).toEqual(["inlined: PART is part of show, which is replaced"]);
  const made = (body: string): string =>
    `#define define_it(name) int name##_made(int v)\ndefine_it(it)\n{\n\t${body}\n\treturn v;\n}\n`;
  const changes = await fatesOf([{ path: "fs/b.c", before: made("take(v);"), after: made("take(v + 4);") }]);
  expect(textsOf(changes, "fs/b.c")).toEqual(["edited: code of these lines is in it_made, which is replaced"]);
});

test("a function that the patch deletes is not said to be in force", async () => {
  const gone = "static inline int gone(int v)\n{\n\treturn take(v * 3);\n}\n\n";
  const before = gone + gap + show("\tv += gone(v);\n");
  const after = gap + show("\tv += 1;\n");
  const [first] = textsOf(await fatesOf([{ path: "fs/a.c", before, after }]), "fs/a.c");
  expect(first).toBe("inlined: gone is deleted; the kernel has its code in show, which is replaced");
});

describe("lines of code that look like a comment", () => {
  test.each([
    ["begin with *", "\tint *p = &v;\n\t*p = take(v);\n", "\tint *p = &v;\n\t*p = take(v + 8);\n"],
    ["follow a comment", "\t/* one */ v = take(v);\n", "\t/* one */ v = take(v + 8);\n"],
  ])("%s", async (_what, before, after) => {
    const changes = await fatesOf([{ path: "fs/a.c", before: show(before), after: show(after) }]);
    expect(textsOf(changes, "fs/a.c")).toEqual(["edited: show is replaced"]);
  });

  test("and a comment over several lines is one", async () => {
    const changes = await fatesOf([
      { path: "fs/a.c", before: show("\ttake(v);\n"), after: show("\t/* a\n\t   b\n\t */\n\ttake(v);\n") },
    ]);
    expect(textsOf(changes, "fs/a.c").map((text) => text.split(":")[0])).toEqual(["lines"]);
  });

  test("of any length take a time that grows with the length alone", () => {
    const text = `${" ".repeat(2_000_000)}x = 1;`;
    expect(linesWithoutComments(`${text}\n/* c */ "/*" + y; // d`)).toEqual([text, '  "/*" + y;']);
  });
});

test("data is carried where a line of the unit defines it, not where its name stands", async () => {
  const counter = (used: string): string => `static int hits;\n${gap}${show(`\thits += take(v);\n${used}`)}`;
  const changes = await fatesOf([
    { path: "fs/a.c", before: `${gap}${show("\ttake(v);\n")}`, after: counter("\tv += hits;\n") },
    {
      path: "fs/b.c",
      before: show("\ttake(v);\n").replace("show", "b_show"),
      after: show("\ttake(v + 1); /* hits */\n").replace("show", "b_show"),
    },
  ]);
  const carried = "carried: hits is new: the module brings its 4 bytes";
  expect(changes[0]?.hunks.map(({ fates }) => fates.map(({ kind }) => kind))).toEqual([["carried"], ["edited"]]);
  expect(textsOf(changes, "fs/a.c")).toContain(carried);
  expect(textsOf(changes, "fs/b.c")).toEqual(["edited: b_show is replaced"]);
});

describe("a refused patch", () => {
  const files: Edited[] = [
    { path: "fs/a.c", before: show("\ttake(v);\n"), after: show("\ttake(v + 1);\n") },
    {
      path: "include/a.h",
      before: "struct a {\n\tint x;\n\tint y;\n\tint z;\n\tint u;\n\tint w;\n};\n",
      after: "struct a {\n\tint x;\n\tint y;\n\tint z;\n\tint u;\n\tint n;\n\tint w;\n};\n",
    },
    { path: "lib/a.S", before: "a:\n\tret\n", after: "a:\n\tnop\n\tret\n" },
  ];
  const refusals: Refusal[] = [
    { ...refusal, code: "LAYOUT_CHANGED", what: "struct a", where: "fs/a.c", unit: "fs/a.c" },
    { ...refusal, code: "ASSEMBLY", what: "lib/a.S", where: "lib/a.S", unit: "lib/a.S" },
  ];

  test("has each reason at the hunk that it is about, once", async () => {
    const changes = await fatesOf(files, refusals);
    expect(textsOf(changes, "include/a.h")).toEqual(["refused: LAYOUT_CHANGED: struct a: why not"]);
    expect(textsOf(changes, "lib/a.S")).toEqual(["refused: ASSEMBLY: lib/a.S: why not"]);
    expect(changes.flatMap(({ fates }) => fates)).toEqual([]);
  });

  test("replaces nothing", async () => {
    const changes = await fatesOf(files, refusals);
    expect(textsOf(changes, "fs/a.c")).toEqual(["edited: show would be replaced"]);
    const html = renderReport({
      ...{ ...sampleReport, files: changes.map((file) => ({ ...file, hunks: file.hunks })) },
      verdict: { ...sampleReport.verdict, outcome: "refused" },
      functions: [],
    });
    expect(html).toContain('<span class="badge plain">would be replaced</span>');
    expect(html).not.toContain('<span class="badge good">replaced</span>');
  });
});

test("what a line defines is told by its form", () => {
  const yes = ["static int a;", "int x, a = 1;", "int a[] = {", "static DEFINE_MUTEX(a);", "} a = {", "#define a 1"];
  const no = ["extern int a;", "int x = a;", "\ta = 1;", "int ab;", "\treturn a;"];
  expect([...yes, ...no].map((line) => definesName(line, "a", false))).toEqual([
    ...yes.map(() => true),
    ...no.map(() => false),
  ]);
  expect(definesName("\tstatic int a;", "a", true)).toBe(true);
  expect(definesName("\tint a;", "a", true)).toBe(false);
});

test("types of a file have their lines", () => {
  expect(sourceTypes("struct a {\n\tint x;\n};\nenum b { c };\nunion d {\n\tint y;\n} e;\n")).toEqual([
    { name: "struct a", first: 1, last: 3 },
    { name: "enum b", first: 4, last: 4 },
    { name: "union d", first: 5, last: 7 },
  ]);
});
