import { expect, test } from "vitest";
import { read, typeScriptFiles } from "./source-files.ts";

const sources = typeScriptFiles("src").filter((path) => path !== "src/support/find-files.ts");

test("find and grep are run where failures count and what vanishes does not", () => {
  const others = sources.filter((path) => /\brun\(\s*"(?:find|grep)"/.test(read(path)));
  expect(others, "use walk() of src/support/find-files.ts").toEqual([]);
});

/** Folders that the same process has just made, in which nobody else works. */
const own = ["src/package/formats/tarball.ts", "src/vm/initramfs.ts"];

test("folders that others use are not walked by Node's readdir, which fails when one in them vanishes", () => {
  const others = sources.filter((path) => /\breaddir(?:Sync)?\([^;]*recursive: true/.test(read(path)));
  expect(others, "use entriesBelow() of src/support/find-files.ts").toEqual(own);
});
