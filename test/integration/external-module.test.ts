import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { RepeatResult } from "../../src/build/repro/repeat.ts";
import { runKpatchBuild } from "../../src/cli/compat/kpatch-build.ts";
import { versionNameSize } from "../../src/elf/symbol-versions.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { readPatchModule } from "./patch-module.ts";
import {
  all,
  append,
  type Built,
  functionNames,
  replace,
  Scratch,
  type StockKernel,
  stockKernel,
} from "./stock-kernel.ts";

const fixture = fileURLToPath(new URL("../fixtures/external-module", import.meta.url));
const scratch = new Scratch();
/** The source as its author has it, and a copy in which it was built. */
const source = join(scratch.path, "greet");
const context = join(scratch.path, "built", "greet-1.0");
const module = join(context, "kmend-greet.ko");
let stock: StockKernel;
let patch: string;

beforeAll(async () => {
  stock = await stockKernel();
  cpSync(fixture, source, { recursive: true });
  cpSync(fixture, context, { recursive: true });
  make(context);
  patch = scratch.patch(source, {
    "main.c": replace("return ++counted->reads;", "counted->reads += 2;\n\treturn counted->reads;"),
    "words/words.c": replace("hello %s", "good day %s"),
  });
});
afterAll(() => scratch.remove());

function make(folder: string): void {
  const { path, makeArguments } = stock.tree;
  execFileSync("make", ["-s", "-C", path, ...makeArguments, `M=${folder}`, "modules"], {
    env: { PATH: process.env["PATH"], PWD: folder },
    stdio: "ignore",
  });
}

function fingerprint(folder: string): string {
  return execFileSync("find", [folder, "-printf", "%P %s %m %T@ %C@ %l\n"], { encoding: "utf8" });
}

const given = (file = module, folder = source): string[] => ["--oot-module", file, "--oot-module-src", folder];

async function build(...words: readonly string[]): Promise<Built & { output: string }> {
  const output = scratch.folder();
  const { exitCode, stdout, stderr } = await kmend("build", ...words, "--json", "--output", output);
  return { exitCode, stderr, output, result: JSON.parse(stdout) as BuildResult };
}

/** The source with changes, in a folder of its own. */
function changed(edit: (folder: string) => void): string {
  const folder = join(scratch.folder(), "greet");
  cpSync(fixture, folder, { recursive: true });
  edit(folder);
  return folder;
}

describe("a module that is not part of the kernel", () => {
  test("is patched and proven; its kernel is known from its file, and nothing is written beside its source", async () => {
    const before = [fingerprint(source), fingerprint(context), fingerprint(join(stock.tree.path, "scripts"))];
    const first = await build(patch, ...given());
    expect(first.exitCode, first.stderr).toBe(0);
    const { result } = first;
    expect(result.kernel).toEqual({ release: stock.kernel.release, buildId: stock.kernel.buildId });
    expect(functionNames(result)).toEqual(["greet_show", "greet_words"]);
    for (const { object, proven } of result.functions)
      expect({ object, proven }).toEqual({ object: "kmend_greet", proven: true });
    const built = readPatchModule((result.module as NonNullable<BuildResult["module"]>).path);
    expect(built.livepatchSymbols).toContain("kmend_greet.greeting,0");
    // main.c has a function of this name too, which is inlined, or comes first in the symbol table.
    expect(built.livepatchSymbols.some((name) => /^kmend_greet\.count,[02]$/.test(name))).toBe(true);
    const second = await build(patch, ...given());
    expect(second.result.module?.sha256, second.stderr).toBe(result.module?.sha256);
    const inPlace = await build(patch, ...given(module, context));
    expect(inPlace.result.module?.sha256, inPlace.stderr).toBe(result.module?.sha256);
    expect([fingerprint(source), fingerprint(context), fingerprint(join(stock.tree.path, "scripts"))]).toEqual(before);
  });

  test("a changed header reaches the units that include it, a new function and a new file come along", async () => {
    const edits = {
      "include/greet.h": all(replace('"."', '"!"'), replace("#endif\n", "unsigned int greet_limit(void);\n#endif\n")),
      "words/words.c": replace("greeting->reads);\n\tseq_puts", "min(greeting->reads, greet_limit()));\n\tseq_puts"),
      "words/limit.c": append('#include "greet.h"\nunsigned int greet_limit(void)\n{\n\treturn 7;\n}\n'),
      Makefile: replace("words/words.o", "words/words.o words/limit.o"),
    };
    const { exitCode, result, stderr } = await build(scratch.patch(source, edits), ...given());
    expect(exitCode, stderr).toBe(0);
    expect(functionNames(result)).toEqual(["+greet_limit", "greet_words"]);
  });

  test("in a virtual machine: greets as before, as the patch says, and as before again", async () => {
    const probes = ["--probe", "cut -d'(' -f1 /proc/kmend-greet", "--probe", "grep -c hello /proc/kmend-greet"];
    const { exitCode, stdout, stderr } = await kmend("try", patch, ...given(), ...probes, "--json");
    expect(exitCode, stderr).toBe(0);
    const { verdict, probes: seen } = JSON.parse(stdout) as TryResult;
    expect(verdict).toBe("passed");
    expect(seen.map(({ before, loaded, after }) => [before, loaded, after])).toEqual([
      ["hello reader ", "good day reader ", "hello reader "],
      ["1", "0", "1"],
    ]);
  });

  test("the proof can be repeated with its file, and only with it", async () => {
    const { result } = await build(patch, ...given());
    const { path } = result.module as NonNullable<BuildResult["module"]>;
    const without = await kmend("verify", path);
    expect(without.exitCode).toBe(2);
    expect(without.stderr).toContain("--oot-module FILE");
    const proven = await kmend("verify", path, "--oot-module", module);
    expect(proven.exitCode, proven.stderr).toBe(0);
    const other = changed((folder) =>
      writeFileSync(
        join(folder, "main.c"),
        readFileSync(join(folder, "main.c"), "utf8").replace("WARN_ON_ONCE(!greeting.reads)", "!name"),
      ),
    );
    make(other);
    const failed = await kmend("verify", path, "--oot-module", join(other, "kmend-greet.ko"));
    expect(failed.exitCode).toBe(6);
    expect(failed.stdout).toContain("function greet_show (kmend_greet)");
  });

  test("a saved run is repeated where neither the module nor its source is, on the same result", async () => {
    const folder = join(scratch.folder(), "repro");
    const first = await build(patch, ...given(), "--save-repro", folder);
    expect(first.exitCode, first.stderr).toBe(0);
    const moved = join(scratch.folder(), "moved");
    renameSync(folder, moved);
    // The module whose name in the kernel differs from its file's, and the source that the compiler was given, come along.
    const hidden = [module, source].map((path) => [path, `${path}.hidden`] as const);
    for (const [path, away] of hidden) renameSync(path, away);
    try {
      const { stdout, stderr, exitCode } = await kmend("repeat", moved, "--json");
      expect(exitCode, stderr).toBe(0);
      const repeated = JSON.parse(stdout) as RepeatResult;
      expect(repeated).toMatchObject({ outcome: "same", differences: [], result: { outcome: "built" } });
      expect((repeated.result as BuildResult).functions).toEqual(first.result.functions);
    } finally {
      for (const [path, away] of hidden) renameSync(away, path);
    }
  });

  test("a new member is rewritten, in a patch whose paths are those of the module's source", async () => {
    // Objects that come and go, as the fixture has none.
    const dynamic = changed((folder) => {
      const main = join(folder, "main.c");
      const text = readFileSync(main, "utf8")
        .replace('#include "greet.h"', '#include <linux/slab.h>\n#include "greet.h"')
        .replace(
          "\tcount(&greeting);",
          "\tstruct greeting *own = kzalloc(sizeof(*own), GFP_KERNEL);\n\n\tif (!own)\n\t\treturn -ENOMEM;\n\tcount(&greeting);",
        )
        .replace("\tgreet_words(out, &greeting);", '\town->name = "you";\n\tgreet_words(out, own);\n\tkfree(own);')
        .replace(
          "static struct greeting greeting",
          "static struct greeting_count { unsigned int reads; const char *name; } greeting",
        )
        .replace("count(struct greeting *", "count(struct greeting_count *");
      writeFileSync(main, text);
    });
    make(dynamic);
    const file = join(dynamic, "kmend-greet.ko");
    const grown = scratch.patch(dynamic, {
      "include/greet.h": replace("const char *name;\n", "const char *name;\n\tunsigned int loud;\n"),
      "main.c": replace('\town->name = "you";', '\town->name = "you";\n\town->loud = 2;'),
      "words/words.c": replace(
        "\tcount(out, greeting->reads);",
        '\tif (greeting->loud > 1)\n\t\tseq_puts(out, " again");\n\tcount(out, greeting->reads);',
      ),
    });
    const path = join(scratch.folder(), "adapted.patch");
    const { exitCode, stderr } = await kmend("adapt", grown, ...given(file, dynamic), "-o", path);
    expect(exitCode, stderr).toBe(0);
    const changedFiles = readFileSync(path, "utf8").match(/^\+\+\+ .*/gm);
    expect(changedFiles).toEqual(expect.arrayContaining(["+++ b/main.c", "+++ b/words/words.c"]));
    expect(changedFiles?.filter((line) => /external/.test(line))).toEqual([]);
    const adapted = await build(path, ...given(file, dynamic));
    expect(adapted.exitCode, adapted.stderr).toBe(0);
  });

  test("kpatch-build's options do the same", async () => {
    let stdout = "";
    let stderr = "";
    const output = scratch.folder();
    const exitCode = await runKpatchBuild([...given(), "-o", output, "-n", "greet-fix", patch], {
      stdout: { write: (text) => (stdout += text) },
      stderr: { write: (text) => (stderr += text) },
      signal: new AbortController().signal,
    });
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toContain("Patched objects: kmend_greet\nBuilding patch module: greet-fix.ko\nSUCCESS\n");
  });
});

describe("what cannot be patched", () => {
  test("a module that was built from another source", async () => {
    const folder = changed((at) => {
      const text = readFileSync(join(at, "words/words.c"), "utf8");
      writeFileSync(
        join(at, "words/words.c"),
        text.replace('" (%u)"', '" <%u>"').replace("reads);\n}", "reads + 1);\n}"),
      );
      writeFileSync(
        join(at, "main.c"),
        readFileSync(join(at, "main.c"), "utf8").replace("count(&greeting);", "count(&greeting);\n\tcount(&greeting);"),
      );
    });
    const { exitCode, result, output } = await build(patch, ...given(module, folder));
    expect(exitCode).toBe(4);
    expect(result.module).toBeNull();
    expect(result.refusals.map(({ code }) => code)).toContain("UNPROVEN_FUNCTION");
    expect(result.refusals[0]?.hint).toContain("kmend-greet.ko");
    expect(execFileSync("ls", [output], { encoding: "utf8" })).toBe("");
  });

  const stripped = (how: string): string => {
    const file = join(scratch.folder(), "kmend-greet.ko");
    cpSync(module, file);
    execFileSync("strip", [how, file]);
    return file;
  };
  /** A module for another release: the same bytes but for the vermagic. */
  const foreign = (): string => {
    const { release } = stock.kernel;
    const text = readFileSync(module, "latin1").replaceAll(
      `vermagic=${release} `,
      `vermagic=${release.replace(/^\d/, "9")} `,
    );
    return scratch.file("kmend-greet.ko", Buffer.from(text, "latin1"));
  };
  /** A module that expects another version of a symbol of the kernel. */
  const otherVersions = (): string => {
    const content = readFileSync(module);
    const at = content.indexOf("seq_printf".padEnd(versionNameSize, "\0")) - 8;
    content.writeUInt32LE((content.readUInt32LE(at) ^ 1) >>> 0, at);
    return scratch.file("kmend-greet.ko", content);
  };

  test.each([
    ["there is no such file", () => given("/nowhere/greet.ko"), 2, "NOT_A_MODULE", "cannot be read"],
    ["no module", () => given(patch), 2, "NOT_A_MODULE", "no ELF magic"],
    ["an object that is no module", () => given(join(context, "main.o")), 2, "NOT_A_MODULE", "vermagic"],
    [
      "half a module",
      () => given(scratch.file("half.ko", readFileSync(module).subarray(0, 4000))),
      2,
      "NOT_A_MODULE",
      "why:",
    ],
    ["without symbols", () => given(stripped("-s")), 4, "MODULE_WITHOUT_SYMBOLS", "strip --strip-debug"],
    [
      "without the names of static functions",
      () => given(stripped("--strip-unneeded")),
      4,
      "UNPROVEN_FUNCTION",
      "no symbol named greet_show",
    ],
    ["of another kernel", () => given(foreign()), 2, "KERNEL_NOT_OFFERED", "there is no kernel 9."],
    [
      "of another kernel than the one that was named",
      () => [...given(foreign()), "--kernel", stock.kernel.release],
      2,
      "MODULE_OF_OTHER_KERNEL",
      "vermagic says 9.",
    ],
    [
      "of another kernel of the same release",
      () => given(otherVersions()),
      2,
      "MODULE_OF_OTHER_KERNEL",
      "the kernel's seq_printf",
    ],
    ["source that is not there", () => given(module, "/nowhere"), 2, "NOT_MODULE_SOURCE", "does not exist"],
    ["source without a Makefile", () => given(module, join(source, "words")), 2, "NOT_MODULE_SOURCE", "Makefile"],
    [
      "a Makefile with an error",
      () =>
        given(
          module,
          changed((at) => writeFileSync(join(at, "Makefile"), "ifeq (a\n")),
        ),
      1,
      "EXTERNAL_MAKEFILE",
      "invalid syntax",
    ],
    [
      "a Makefile that builds nothing",
      () =>
        given(
          module,
          changed((at) => writeFileSync(join(at, "Makefile"), "all:\n")),
        ),
      1,
      "EXTERNAL_MAKEFILE",
      "obj-m",
    ],
    [
      "source that does not compile",
      () =>
        given(
          module,
          changed((at) => rmSync(join(at, "include"), { recursive: true })),
        ),
      1,
      "COMPILE_FAILED",
      "greet.h",
    ],
    [
      "another module of the same source",
      () =>
        given(
          module,
          changed((at) =>
            writeFileSync(
              join(at, "Makefile"),
              readFileSync(join(at, "Makefile"), "utf8").replaceAll("kmend-greet", "kmend-other"),
            ),
          ),
        ),
      4,
      "MODULE_NOT_SHIPPED",
      "belongs to the module kmend_other",
    ],
    ["the file alone", () => ["--oot-module", module], 2, "USAGE", "--oot-module-src DIR"],
    ["the source alone", () => ["--oot-module-src", source], 2, "USAGE", "--oot-module FILE"],
  ] as const)("%s", async (_title, words, exitCode, code, text) => {
    const output = scratch.folder();
    const result = await kmend("build", patch, ...words(), "--output", output);
    expect(result.exitCode, result.stderr).toBe(exitCode);
    expect(result.stderr).toContain(`[${code}]`);
    expect(result.stderr).toContain(text);
    expect(result.stderr).toContain("hint:");
    expect(execFileSync("ls", [output], { encoding: "utf8" })).toBe("");
  });
});
