import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { folderObjects, UnitLists } from "../../src/kernel/tree/units.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-beside-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A makefile in the manner of Kbuild's: an object depends on FORCE, which has no recipe. */
const makefile = `real-obj-y := $(obj)/a.o $(obj)/b.o
real-obj-m := $(obj)/c.o
subdir-ym := $(obj)/deeper
$(obj)/a.o: FORCE
	compile $@
FORCE:
.PHONY: FORCE
`;

const question = () => ({ environment: { variables: {} }, at: folder, scratch: folder });

test("a dry run tells the lists of a folder beside the commands, which stay as they were", async () => {
  writeFileSync(join(folder, "Makefile"), makefile);
  const lists = new UnitLists(["drivers/x"]);
  const dryRun = (env: Record<string, string>): string =>
    execFileSync("make", ["-rRn", "obj=drivers/x", "drivers/x/a.o"], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
  const told = dryRun({ MAKEFILES: await lists.makefile(folder) });
  expect(told).toContain("kmend-lists: drivers/x\n");
  const rest = lists.take(told);
  lists.end();
  expect(rest.split("\n").filter((line) => line !== ":")).toEqual(dryRun({}).split("\n"));
  const objects = await folderObjects(question(), "drivers/x", lists);
  expect([...objects.builtin.keys()]).toEqual(["drivers/x/a.o", "drivers/x/b.o"]);
  expect([...objects.module.keys()]).toEqual(["drivers/x/c.o"]);
  expect([...objects.folders.keys()]).toEqual(["drivers/x/deeper"]);
});

test("a folder of which nothing was told is asked about, and one that will not be told of does not wait", async () => {
  const lists = new UnitLists(["drivers/x"]);
  expect(await lists.of("drivers/y")).toBeUndefined();
  const waiting = lists.of("drivers/x");
  expect(lists.take("a line\n")).toBe("a line\n");
  lists.end();
  expect(await waiting).toBeUndefined();
});
