import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runningKernel } from "../../src/stop/running-kernel.ts";
import { encodeBtf } from "../kernel/btf-encoder.ts";
import { kernelNotes } from "./stop-kernel.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-running-"));
  write("sys/kernel/btf/vmlinux", encodeBtf([{ kind: 1, name: "int", word: 4, tail: [[0x0100_0020]] }]));
  write("sys/kernel/notes", kernelNotes());
  write(
    "proc/kallsyms",
    [
      ...["0 T first", "1 t twin", "2 d twin", "3 T lonely", "4 t half", "5 t half", "6 t twin", "7 T last"],
      ...["8 t lonely\t[loop]", "9 t inside\t[loop]", "a t lonely\t[bpf]", ""],
    ].join("\n"),
  );
  write(
    "sys/kernel/tracing/available_filter_functions",
    "first\ntwin\ntwin\nlonely\nhalf\nlonely [loop]\ninside [loop]\nlast\n",
  );
  write("lib/modules/9.9.0/modules.order", "kernel/loop.ko\n");
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

test("symbols of the kernel itself are found in the order of its table", async () => {
  const kernel = await runningKernel(root, "9.9.0");
  expect(kernel.symbolsNamed("twin")).toEqual([
    { type: "t", traceable: true, after: "first" },
    { type: "d", traceable: true, after: "twin" },
    { type: "t", traceable: true, after: "half" },
  ]);
  expect(kernel.symbolsNamed("first")).toEqual([{ type: "T", traceable: true, after: "" }]);
  expect(kernel.symbolsNamed("lonely")).toEqual([{ type: "T", traceable: true, after: "twin" }]);
  for (const name of ["inside", "lone", "st", "nothing"]) expect(kernel.symbolsNamed(name)).toEqual([]);
});

test("of equal names the kernel does not tell which one can be traced", async () => {
  const kernel = await runningKernel(root, "9.9.0");
  expect(kernel.symbolsNamed("half").map(({ traceable }) => traceable)).toEqual([undefined, undefined]);
  write("sys/kernel/tracing/available_filter_functions", "first\n");
  const other = await runningKernel(root, "9.9.0");
  expect(other.symbolsNamed("half").map(({ traceable }) => traceable)).toEqual([false, false]);
  expect([...kernel.tracedNames()]).toEqual(["first", "twin", "twin", "lonely", "half", "last"]);
});

test("build id, types and modules are those that the kernel shows", async () => {
  const kernel = await runningKernel(root, "9.9.0");
  expect(kernel).toMatchObject({
    release: "9.9.0",
    buildId: "ab".repeat(20),
    modulesDir: join(root, "lib/modules/9.9.0"),
  });
  expect(kernel.note.offset).toBe(20);
  expect(kernel.note.bytes.length).toBe(36);
  expect(kernel.types.count).toBe(2);
  expect((await runningKernel(root, "9.9.1")).modulesDir).toBeUndefined();
});

test("what is missing is told", async () => {
  rmSync(join(root, "sys/kernel/tracing"), { recursive: true });
  await expect(runningKernel(root, "9.9.0")).rejects.toMatchObject({ code: "STOP_NO_TRACEFS", exitCode: 5 });
  write("sys/kernel/debug/tracing/available_filter_functions", "first\n");
  await runningKernel(root, "9.9.0");
  write("sys/kernel/notes", kernelNotes().subarray(0, 20));
  await expect(runningKernel(root, "9.9.0")).rejects.toMatchObject({ code: "STOP_NO_BUILD_ID", exitCode: 4 });
  rmSync(join(root, "sys/kernel/btf"), { recursive: true });
  await expect(runningKernel(root, "9.9.0")).rejects.toMatchObject({ code: "STOP_NO_TYPES", exitCode: 4 });
});
