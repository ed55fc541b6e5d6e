import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { includeGraph, parseGraph } from "../../src/kernel/tree/include-graph.ts";

test("units are found through any number of headers", () => {
  const graph = parseGraph(
    ["fs/a.c\tlinux/fs.h", "include/linux/fs.h\tlinux/list.h", "net/b.c\tlinux/list.h", "net/c.c\tlinux/other.h"].join(
      "\n",
    ),
  );
  expect(graph.unitsThatMaySee(["include/linux/list.h"])).toEqual(["fs/a.c", "net/b.c"]);
  expect(graph.unitsThatMaySee(["include/linux/fs.h"])).toEqual(["fs/a.c"]);
  expect(graph.unitsThatMaySee(["include/linux/nobody.h"])).toEqual([]);
});

test("headers that include each other come to an end", () => {
  const graph = parseGraph("include/a.h\tb.h\ninclude/b.h\ta.h\nfs/a.c\ta.h");
  expect(graph.unitsThatMaySee(["include/b.h"])).toEqual(["fs/a.c"]);
});

test("a name may mean any file whose path ends so, one beside the including file means only that", () => {
  const graph = parseGraph("fs/x/a.c\t=fs/x/trace.h\nnet/b.c\ttrace.h\nnet/c.c\tdeep/trace.h");
  expect(graph.unitsThatMaySee(["fs/x/trace.h"])).toEqual(["fs/x/a.c", "net/b.c"]);
  expect(graph.unitsThatMaySee(["include/deep/trace.h"])).toEqual(["net/b.c", "net/c.c"]);
  expect(graph.unitsThatMaySee(["include/shallowdeep/trace.h"])).toEqual(["net/b.c"]);
});

test("leading dots of a name are no part of what it may end in", () => {
  const graph = parseGraph("fs/x/a.c\t../../include/y.h");
  expect(graph.unitsThatMaySee(["include/y.h"])).toEqual(["fs/x/a.c"]);
});

test("a C file that another one includes is seen by it, and is not listed itself", () => {
  const graph = parseGraph("kernel/sched/build.c\t=kernel/sched/fair.c\nkernel/sched/fair.c\tsched.h");
  expect(graph.unitsThatMaySee(["kernel/sched/fair.c"])).toEqual(["kernel/sched/build.c"]);
  expect(graph.unitsThatMaySee(["kernel/sched/sched.h"])).toEqual(["kernel/sched/build.c", "kernel/sched/fair.c"]);
});

test("all folders with code of the kernel are read, whatever form the lines have", async () => {
  const root = mkdtempSync(join(tmpdir(), "kmend-graph-"));
  try {
    const put = (path: string, text: string): void => {
      mkdirSync(dirname(join(root, "tree", path)), { recursive: true });
      writeFileSync(join(root, "tree", path), text);
    };
    put("include/linux/key.h", "");
    put("certs/system_keyring.c", "#include <linux/key.h>\n");
    put("fs/a.c", '\t#\tinclude\t"own.h" /* comment */\n');
    put("fs/own.h", "# include <linux/key.h>");
    put("tools/t.c", "#include <linux/key.h>\n");
    put("net/c.c", "// #include <linux/key.h>\n");
    const graph = await includeGraph(join(root, "tree"), root, ["tools"]);
    expect(graph.unitsThatMaySee(["include/linux/key.h"])).toEqual(["certs/system_keyring.c", "fs/a.c"]);
    expect(graph.unitsThatMaySee(["fs/own.h"])).toEqual(["fs/a.c"]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
