import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind, IntEncoding } from "../../src/kernel/types/btf-format.ts";
import { moduleEntryPoints } from "../../src/stop/suggest/module-operations.ts";
import { suggest } from "../../src/stop/suggest/suggest.ts";
import { assemble } from "../fixtures/compile.ts";
import { type EncodedType, encodeBtf } from "../kernel/btf-encoder.ts";
import { shippedModule, stopKernel } from "./stop-kernel.ts";

const types: readonly EncodedType[] = [
  { kind: BtfKind.int, name: "int", word: 4, tail: [[(IntEncoding.signed << 24) | 32]] }, // 1
  { kind: BtfKind.struct, name: "socket", word: 8, tail: [] }, // 2
  { kind: BtfKind.ptr, word: 2 }, // 3
  {
    kind: BtfKind.funcProto,
    word: 1,
    tail: [
      ["", 3],
      ["", 1],
    ],
  }, // 4: int (*)(struct socket *, int)
  { kind: BtfKind.ptr, word: 4 }, // 5
  { kind: BtfKind.funcProto, word: 3, tail: [["", 1]] }, // 6: struct socket *(*)(int)
  { kind: BtfKind.ptr, word: 6 }, // 7
  {
    kind: BtfKind.struct,
    name: "proto_ops",
    word: 24,
    tail: [
      ["family", 1, 0],
      ["release", 5, 64],
      ["bind", 5, 128],
    ],
  }, // 8
  {
    kind: BtfKind.struct,
    name: "af_alg_type",
    word: 16,
    tail: [
      ["bind", 7, 0],
      ["owner", 3, 64],
    ],
  }, // 9
  // Its pointers have the places and types of those of the first.
  {
    kind: BtfKind.struct,
    name: "genl_ops",
    word: 24,
    tail: [
      ["x", 1, 0],
      ["doit", 5, 64],
      ["y", 1, 128],
    ],
  }, // 10
  {
    kind: BtfKind.funcProto,
    word: 1,
    tail: [
      ["sock", 3],
      ["level", 1],
    ],
  }, // 11
  { kind: BtfKind.func, name: "one_bind", word: 11, count: 1 },
  { kind: BtfKind.func, name: "one_release", word: 11, count: 1 },
  { kind: BtfKind.func, name: "two_bind", word: 11, count: 1 },
  { kind: BtfKind.funcProto, word: 3, tail: [["type", 1]] }, // 15
  { kind: BtfKind.func, name: "alg_bind", word: 15, count: 1 },
  { kind: BtfKind.func, name: "other", word: 15, count: 1 },
];

/** A module with such tables: `.quad` lines of each variable. */
function module(variables: Readonly<Record<string, readonly string[]>>): Uint8Array {
  const functions = ["one_bind", "one_release", "two_bind", "alg_bind", "other"];
  const code = functions.map((name) => `.type ${name},@function\n${name}: ret\n.size ${name},1\n`).join("");
  const data = Object.entries(variables).map(([name, quads]) => {
    const content = quads.map((quad) => `.quad ${quad}\n`).join("");
    return `.type ${name},@object\n.size ${name},${8 * quads.length}\n${name}:\n${content}`;
  });
  return assemble(`.text\n${code}.data\n${data.join("")}`);
}

const found = (variables: Readonly<Record<string, readonly string[]>>) =>
  moduleEntryPoints(module(variables), new Btf(encodeBtf(types), "types")).map(
    ({ name, through, failure }) => `${name} ${through}${failure === undefined ? "" : ` ${failure}`}`,
  );

describe("tables of operations of a module", () => {
  test("are known by their size and by what their pointers lead to", () => {
    expect(found({ ops: ["2", "one_release", "one_bind"] })).toEqual(["one_bind proto_ops.bind"]);
    expect(found({ list: ["2", "0", "one_bind", "3", "one_release", "two_bind"] })).toEqual([
      ...["one_bind proto_ops.bind", "two_bind proto_ops.bind"],
    ]);
    expect(found({ alg: ["alg_bind", "0"] })).toEqual(["alg_bind af_alg_type.bind ERR_PTR(-EPERM)"]);
  });

  test("with another size, a pointer elsewhere, or to a function of another type are none", () => {
    expect(found({ ops: ["2", "one_release", "one_bind", "0"] })).toEqual([]);
    expect(found({ ops: ["one_bind", "one_release", "one_bind"] })).toEqual([]);
    expect(found({ ops: ["2", "one_release", "other"] })).toEqual([]);
    expect(found({ ops: ["2", "0", "0"] })).toEqual([]);
  });

  test("that could be one of two structures which close different things are passed over", () => {
    expect(found({ ops: ["2", "one_release", "0"] })).toEqual([]);
  });
});

describe("what closes", () => {
  const called = (names: readonly string[]) => {
    const kernel = stopKernel();
    const symbol = { type: "T", traceable: true, after: "" };
    return { ...kernel, symbolsNamed: (name: string) => (names.includes(name) ? [symbol] : kernel.symbolsNamed(name)) };
  };

  test("a feature is what the kernel has of it, with the reason where that cannot be stopped", async () => {
    const result = await suggest(called(["ptrace_attach"]), "Ptrace");
    expect(result).toMatchObject({ subject: "Ptrace", kernel: "9.9.0-test", found: ["ptrace"] });
    expect(result.suggestions).toEqual([
      {
        ...{ function: "ptrace_attach", through: "", breaks: "debuggers cannot attach to running programs" },
        returns: null,
        problem: "the kernel's types do not have it, so what it returns is not known",
      },
    ]);
  });

  test("a vulnerability is found by the files of its fix", async () => {
    const kernel = called(["ptrace_attach"]);
    expect((await suggest(kernel, "CVE-2026-1", ["include/x.h", "kernel/ptrace.c"])).found).toEqual(["ptrace"]);
    await expect(suggest(kernel, "CVE-2026-1", ["net/none/x.c"])).rejects.toMatchObject({ code: "NOTHING_TO_SUGGEST" });
  });

  test("what is neither a module nor a feature is told so, and what is built in too", async () => {
    const kernel = stopKernel();
    writeFileSync(join(kernel.modulesDir ?? "", "kernel/loop.ko"), shippedModule());
    await expect(suggest(kernel, "nonsense")).rejects.toMatchObject({
      exitCode: 3,
      why: expect.stringContaining("neither"),
    });
    await expect(suggest(kernel, "fixed")).rejects.toMatchObject({ why: expect.stringContaining("built in") });
  });
});
