import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { missedNames } from "../../bench/fixes/compiler-errors.ts";
import type { Corpus } from "../../bench/fixes/corpus.ts";
import { functionGroups } from "../../bench/fixes/hunks.ts";
import { Joiner } from "../../bench/fixes/join.ts";

const head = (path: string): string => `--- a/${path}\n+++ b/${path}\n`;
const patches: Readonly<Record<string, string>> = {
  "drivers/a/a.c": `${head("drivers/a/a.c")}@@ -9,1 +9,2 @@ int use(void)\n \t{\n+\thelp(1);\n`,
  "drivers/a/a.h": `${head("drivers/a/a.h")}@@ -1,1 +1,2 @@ struct big {\n \tint x;\n+\tint count;\n@@ -40,1 +41,2 @@ struct big {\n \n+int help(int);\n`,
  "drivers/b/b.h": `${head("drivers/b/b.h")}@@ -5,1 +5,2 @@ struct other {\n \tint y;\n+\tint count, help;\n`,
  "drivers/a/b.h": `${head("drivers/a/b.h")}@@ -7,2 +7,2 @@\n int split(int a,\n-\t  int b);\n+\t  long b);\n`,
  "drivers/a/help.c": `${head("drivers/a/help.c")}@@ -3,1 +3,2 @@\n \n+#define UNUSED 1\n@@ -9,1 +10,3 @@\n \n+int help(int a)\n+{ return a; }\n`,
  "drivers/a/new.c": "--- /dev/null\n+++ b/drivers/a/new.c\n@@ -0,0 +1,1 @@\n+int newborn(void) { return 0; }\n",
  "drivers/a/Makefile": `${head("drivers/a/Makefile")}@@ -1,1 +1,2 @@\n \n+obj-y += new.o\n`,
};
let folder: string;
let joiner: Joiner;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kmend-join-"));
  const paths = new Map<string, string>();
  for (const [index, [path, text]] of Object.entries(patches).entries()) {
    const file = join(folder, `${index}.patch`);
    writeFileSync(file, text);
    paths.set(path, file);
  }
  joiner = await Joiner.of({ fixes: [], notBuilt: [], patches: paths } satisfies Corpus);
});
afterAll(() => rmSync(folder, { recursive: true }));

const fix = "drivers/a/a.c";

describe("what the compiler misses", () => {
  test.each([
    ["implicit declaration of function 'help'; did you mean 'heap'? [-Werror]", { names: ["help"] }],
    ["'struct big' has no member named 'count'; did you mean 'x'?", { names: ["count"], within: "struct big" }],
    ["too many arguments to function 'big->ops->start'", { names: ["start"], isDeclared: true }],
    ["invalid application of 'sizeof' to incomplete type 'struct late'", { names: ["late"] }],
    ["conflicting types for 'fun'; have 'int(struct big *)'", { names: ["fun"], isDeclared: true }],
    ["linux/new.h: No such file or directory", { names: [], header: "linux/new.h" }],
  ])("%s", (message, missed) => {
    expect(missedNames(`./drivers/a/a.c:9:1: error: ${message}`)).toEqual([{ place: fix, ...missed }]);
  });

  test("nothing in warnings and notes", () => {
    expect(missedNames("a.c:9:1: warning: unused 'x'\na.c: In function 'y':")).toEqual([]);
  });
});

describe("parts for errors", () => {
  const forError = (message: string, parts: readonly string[] = [fix]) =>
    joiner.forErrors(`${fix}:9:1: error: ${message}`, parts, fix);

  test("the hunk of the nearest header that adds the name, and no other", async () => {
    const parts = await forError("implicit declaration of function 'help'");
    expect(parts).toEqual([fix, "drivers/a/a.h#2"]);
    expect(await joiner.patch("drivers/a/a.h#2")).toBe(
      `${head("drivers/a/a.h")}@@ -40,1 +41,2 @@ struct big {\n \n+int help(int);\n`,
    );
  });

  test("a member from the structure that it is of", async () => {
    expect(await forError("'struct other' has no member named 'count'")).toEqual([fix, "drivers/b/b.h#1"]);
    expect(await forError("'struct nowhere' has no member named 'count'")).toEqual([fix]);
    expect(await forError("'struct big' has no member named 'count'", [fix, "drivers/a/a.h#2"])).toEqual([
      fix,
      "drivers/a/a.h#1,2",
    ]);
  });

  test("a declaration whose change is in another line than its name", async () => {
    const message = "conflicting types for 'split'; have 'int(int, long int)'";
    expect(await forError(message)).toEqual([fix, "drivers/a/b.h#1"]);
  });

  test("the next nearest one when the first is in already; nothing when all are", async () => {
    const message = "'help' undeclared";
    const more = await forError(message, [fix, "drivers/a/a.h#2"]);
    expect(more).toEqual([fix, "drivers/a/a.h#2", "drivers/b/b.h#1"]);
    expect(await forError(message, more)).toEqual(more);
  });
});

describe("parts for symbols", () => {
  test("the hunk that defines the name", () => {
    expect(joiner.forSymbols(["help"], [fix], fix)).toEqual([fix, "drivers/a/help.c#2"]);
  });

  test("a new file comes whole and with its Makefile", () => {
    expect(joiner.forSymbols(["newborn"], [fix], fix)).toEqual(["drivers/a/Makefile", fix, "drivers/a/new.c"]);
  });
});

test("a hunk keeps the blank lines at its end", () => {
  const patch = `${head("x.c")}@@ -1,3 +1,4 @@ one()\n a\n+b\n \n \n`;
  expect(functionGroups(patch)).toEqual([patch]);
});

test("neighbouring hunks of one function stay together", () => {
  const hunk = (line: number, within: string): string => `@@ -${line},1 +${line},2 @@ ${within}\n a\n+b\n`;
  const groups = functionGroups(`${head("x.c")}${hunk(1, "one()")}${hunk(9, "one()")}${hunk(20, "two()")}`);
  expect(groups).toEqual([
    `${head("x.c")}${hunk(1, "one()")}${hunk(9, "one()")}`,
    `${head("x.c")}${hunk(20, "two()")}`,
  ]);
});
