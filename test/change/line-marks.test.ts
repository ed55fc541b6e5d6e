import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { keepLineNumbers } from "../../src/change/line-marks.ts";
import { diffC, diffObjects } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";

function marked(original: string, patched: string): string {
  return Buffer.from(keepLineNumbers(Buffer.from(original), Buffer.from(patched))).toString();
}

/** Number that `__LINE__` has behind each `name:` of the preprocessed text. */
function numbersOf(source: string): Map<string, number> {
  const text = execFileSync("gcc", ["-E", "-P", "-w", "-x", "c", "-"], { input: source, encoding: "utf8" });
  return new Map([...text.matchAll(/(\w+): (\d+)/g)].map((match) => [match[1] as string, Number(match[2])]));
}

/** Expects that every label of the original has its old number in the patched text. */
function expectKept(original: string, patched: string): void {
  const after = numbersOf(marked(original, patched));
  for (const [name, line] of numbersOf(original))
    if (after.has(name)) expect([name, after.get(name)]).toEqual([name, line]);
}

test("lines behind an added one keep their number", () => {
  expect(marked("a\nb\nc\n", "a\nnew\nb\nc\n")).toBe("a\nnew\n#line 2\nb\nc\n");
});

test("lines behind a removed one keep their number", () => {
  expect(marked("a\nb\nc\n", "a\nc\n")).toBe("a\n#line 3\nc\n");
});

test("a replaced line needs no mark", () => {
  expect(marked("a\nb\nc\n", "a\nB\nc\n")).toBe("a\nB\nc\n");
});

test("each hunk gets its mark", () => {
  expect(marked("a\nb\nc\nd\n", "x\na\nb\ny\nz\nc\nd\n")).toBe("x\n#line 1\na\nb\ny\nz\n#line 3\nc\nd\n");
});

test("an unchanged file stays as it is, with and without a newline at its end", () => {
  for (const text of ["", "a", "a\n", "a\nb", "a\nb\n\n"]) expect(marked(text, text)).toBe(text);
});

test("bytes that are no UTF-8 stay as they are", () => {
  const original = Buffer.from([0x2f, 0x2f, 0xe9, 0x0a, 0x61]);
  const patched = Buffer.from([0x62, 0x0a, 0x2f, 0x2f, 0xe9, 0x0a, 0x61]);
  const result = Buffer.from(keepLineNumbers(original, patched));
  expect(result.includes(Buffer.from([0x2f, 0x2f, 0xe9, 0x0a]))).toBe(true);
});

test("a change inside a macro of several lines waits for the end of the macro", () => {
  const original = "#define M(x) \\\n  do { \\\n    x; \\\n  } while (0)\nafter: __LINE__\n";
  const patched = "#define M(x) \\\n  do { \\\n    new; \\\n    x; \\\n  } while (0)\nafter: __LINE__\n";
  expectKept(original, patched);
  expect(marked(original, patched)).toContain("    x; \\\n  } while (0)\n#line 5\nafter");
});

test("a change inside a comment waits for the end of the comment", () => {
  const original = "first: __LINE__\n/*\n * old\n * text\n */\nafter: __LINE__\n";
  const patched = "first: __LINE__\n/*\n * old\n * more\n * text\n */\nafter: __LINE__\n";
  expectKept(original, patched);
});

test("a comment that begins on an added line is a comment too", () => {
  expectKept("first: __LINE__\n * old */\nafter: __LINE__\n", "/* new\nfirst: __LINE__\n * old */\nafter: __LINE__\n");
});

test.each([
  ["in a string", 'text: "/*"; __LINE__\nx\nafter: __LINE__\n'],
  ["in a character", "text: '\"', '/'; '*' __LINE__\nx\nafter: __LINE__\n"],
  ["behind //", "// a /* b\nx\nafter: __LINE__\n"],
  ["closed in its line", "a /* b */ c\nx\nafter: __LINE__\n"],
  ["behind an escaped quote", '"a\\"/*b" c\nx\nafter: __LINE__\n'],
])("what looks like the start of a comment %s is none", (_, original) => {
  const patched = original.replace("x\n", "new\nx\n");
  expect(marked(original, patched)).toContain("#line 2\nx");
});

test("a change in a part that the configuration leaves out is repeated behind it", () => {
  const original = "#if 0\none\ntwo\n#else\nthree: __LINE__\n#endif\nafter: __LINE__\n";
  const patched = "#if 0\none\nnew\ntwo\n#else\nthree: __LINE__\n#endif\nafter: __LINE__\n";
  expectKept(original, patched);
});

test("nested conditionals and #elif do not lose the number either", () => {
  const original = "#if 0\n#if 1\none\n#endif\n#elif 1\ntwo: __LINE__\n#else\nx\n#endif\nafter: __LINE__\n";
  for (const place of ["#if 1\n", "one\n", "#elif 1\n", "#else\n", "x\n"]) {
    expectKept(original, original.replace(place, `${place}new\n`));
  }
});

test("changes at the start and at the end of the file", () => {
  const original = "a: __LINE__\nb: __LINE__\n";
  expectKept(original, `new\nnew\n${original}`);
  expectKept(original, `${original}new`);
  expectKept(original, "b: __LINE__");
});

test("code that only moved compiles to the same bytes", async () => {
  const original = `
    int f(int x) { return take(x); }
    int g(int x) { printk("%d", __LINE__); return take(x + 1); }
    int h(int x) { if (x) printk("%d", __LINE__); return 3; }
  `;
  const patched = original.replace("return take(x);", "if (x == 5)\n return 7;\n return take(x);");
  const plain = await diffC(original, patched);
  expect(plain.redirected).toEqual(["f", "g", "h"]);
  const kept = await diffObjects(compileC(original), compileC(marked(original, patched)));
  expect(kept.redirected).toEqual(["f"]);
});

test("a change among the arguments of a macro over several lines keeps later numbers", () => {
  const original = "#define M(...) call\nM(a,\n  b,\n  c);\nafter: __LINE__\n";
  expectKept(original, original.replace("b,\n", "b,\n  new,\n"));
});

const line = fc.constantFrom(
  "plain",
  "/*",
  "*/",
  " * text",
  "// note /*",
  '"/*"',
  "#if 0",
  "#if 1",
  "#else",
  "#endif",
  "#define M \\",
  "  part \\",
  "",
  "int x; /* closed */",
);

/** Completes conditionals and comments, so that the preprocessor accepts the text, and gives each plain line a label. */
function tidy(lines: readonly string[]): string[] {
  const output: string[] = [];
  const open: { hasElse: boolean }[] = [];
  let inComment = false;
  for (const text of lines) {
    const isContinued = output.at(-1)?.endsWith("\\") === true;
    if (text === "/*") {
      if (inComment || isContinued) continue;
      inComment = true;
    } else if (text === "*/") {
      if (!inComment) continue;
      inComment = false;
    } else if (text.startsWith("#") || text.endsWith("\\")) {
      if (inComment || (isContinued && text.startsWith("#")) || (!isContinued && text === "  part \\")) continue;
      if (text.startsWith("#if")) open.push({ hasElse: false });
      else if (text === "#else") {
        const last = open.at(-1);
        if (last === undefined || last.hasElse) continue;
        last.hasElse = true;
      } else if (text === "#endif" && open.pop() === undefined) continue;
    }
    output.push(text);
  }
  output.push("");
  if (inComment) output.push("*/");
  for (const _ of open) output.push("#endif");
  return output;
}

test("lines that the patch keeps have their old number, whatever the text", { timeout: 120_000 }, () => {
  const edits = fc.array(
    fc.record({ at: fc.nat(30), remove: fc.nat(1), add: fc.array(fc.constant("added"), { maxLength: 3 }) }),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  fc.assert(
    fc.property(fc.array(line, { minLength: 3, maxLength: 25 }), edits, (lines, changes) => {
      const original = tidy(lines).map((text, at) => (text === "plain" ? `label${at}: __LINE__` : text));
      const patched: (string | undefined)[] = [...original];
      const added = new Map<number, string[]>();
      for (const { at, remove, add } of changes) {
        const place = at % original.length;
        // Only labels and texts go, so that the rest stays a valid file; a macro stays as it is.
        if (original[place - 1]?.endsWith("\\") === true) continue;
        if (remove === 1 && /^label|^int/.test(original[place] ?? "")) patched[place] = undefined;
        added.set(place, add);
      }
      const text = patched.flatMap((kept, at) => [...(added.get(at) ?? []), ...(kept === undefined ? [] : [kept])]);
      expectKept(original.join("\n"), text.join("\n"));
    }),
    { numRuns: 80, seed: 5 },
  );
});
