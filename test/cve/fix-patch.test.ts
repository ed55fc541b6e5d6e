import { expect, test } from "vitest";
import { readFixPatch } from "../../src/cve/fix-patch.ts";

const commit = "a".repeat(40);

const diff = (file: string, line: string): string => `diff --git a/${file} b/${file}
index 1..2 100644
--- a/${file}
+++ b/${file}
@@ -1,2 +1,3 @@ int f(void)
 a

+${line}
`;

/** A mail with a message and what stands behind its separator. */
const mail = (message: string, rest: string): Buffer =>
  Buffer.from(`From ${commit} Mon Sep 17 00:00:00 2001
From: A <a@example.org>
Date: Fri, 2 Jan 2026 03:04:05 +0000
Subject: [PATCH] Fix it

${message}
---
${rest}`);

test("the diffs of a mail are its patch, with or without a signature", () => {
  const both = `${diff("fs/a.c", "b")}${diff("Documentation/x.rst", "c")}${diff("fs/d.c", "-- ")}`;
  for (const end of ["", "-- \n2.39.5\n\n"]) {
    const patch = readFixPatch(mail("It was wrong.", `${both}${end}`), commit, "here");
    expect(patch.files).toEqual(["fs/a.c", "fs/d.c"]);
    expect(patch.leftOut).toEqual(["Documentation/x.rst"]);
    expect(patch.content.toString()).toContain("+-- \n");
  }
});

test("a last line without a line feed, a file that goes, and a change of mode are diffs", () => {
  const more = `${diff("fs/a.c", "b")}\\ No newline at end of file
diff --git a/fs/old.c b/fs/old.c
deleted file mode 100644
index 1..0
--- a/fs/old.c
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/fs/run.c b/fs/run.c
old mode 100644
new mode 100755
`;
  expect(readFixPatch(mail("m", more), commit, "here").files).toEqual(["fs/a.c", "fs/old.c", "fs/run.c"]);
});

test.each([
  [
    "in the message",
    mail(
      `Somebody suggested this, which is wrong:\n\n${diff("fs/bad.c", "bad")}\nSigned-off-by: A`,
      diff("fs/a.c", "b"),
    ),
  ],
  ["at the end of the message", mail(`Not so:\n\n${diff("fs/bad.c", "bad").trimEnd()}`, diff("fs/a.c", "b"))],
  ["with fewer lines than it says", mail("m", diff("fs/a.c", "b").replace("+1,3", "+1,9"))],
  ["with text behind it", mail("m", `${diff("fs/a.c", "b")}Cheers\n`)],
])("a diff %s is refused: it is not known which one is the commit's", (_, content) => {
  expect(() => readFixPatch(content, commit, "here")).toThrowError(expect.objectContaining({ code: "FIX_DAMAGED" }));
});
