import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { controlText, oneLine, shellWord, specLine, specText, xmlText } from "../../src/package/formats/escape.ts";

const anyText = fc.string({ unit: "binary", maxLength: 60 });

test("a line holds no control characters and no line breaks", () => {
  expect(oneLine(" a\n b\t\u0000c\u2028d ")).toBe("a b c d");
  expect(oneLine("half \ud800 pair")).toBe("half ? pair");
});

test("rpm has nothing to expand in a line", () => {
  expect(specLine("100% %{nil} %(id)\n%files")).toBe("100%% %%{nil} %%(id) %%files");
  fc.assert(
    fc.property(anyText, (text) => {
      const line = specLine(text);
      expect(line.replaceAll("%%", "")).not.toContain("%");
      expect(line).not.toMatch(/[\n\r]|\\$/);
    }),
  );
});

test("no line of a description begins a section, a conditional or a comment", () => {
  expect(specText("first\n%files\n  %if 0\n#x\nback\\\nlast")).toBe(
    "first\n> %%files\n>   %%if 0\n> #x\nback\\.\nlast",
  );
  fc.assert(
    fc.property(anyText, (text) => {
      for (const line of specText(text).split("\n")) expect(line).not.toMatch(/^\s*[%#]/);
    }),
  );
});

test("a control file has no new field and no empty line in a description", () => {
  expect(controlText("one\n\nDepends: evil\n.dot")).toBe(" one\n .\n Depends: evil\n  .dot");
  fc.assert(
    fc.property(anyText, (text) => {
      for (const line of controlText(text).split("\n")) if (line !== "") expect(line).toMatch(/^ \S| {2}/);
    }),
  );
});

test("a shell gets back exactly the text", () => {
  for (const text of ["", "it's", "$(id) `id` $HOME", 'a "b" \\', "new\nline", "-n", "*"]) {
    expect(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" })).toBe(text);
  }
});

test("XML has no markup in a text", () => {
  expect(xmlText('<a href="x">&\u0001')).toBe("&lt;a href=&quot;x&quot;&gt;&amp;");
});
