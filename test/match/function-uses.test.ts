import { describe, expect, test } from "vitest";
import { linkedUses } from "../../src/match/function-uses.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import { assemble } from "../fixtures/compile.ts";

/** Kernel addresses, as signed numbers. */
const text = -0x7f00_0000;
const meant = text + 0x100;

function code(bytes: readonly number[], field: number, value: number): Uint8Array {
  const all = Uint8Array.from(bytes);
  new DataView(all.buffer).setInt32(field, value, true);
  return all;
}

const usesIn = (bytes: Uint8Array, isCode = true, address = text) =>
  linkedUses(meant, [{ name: isCode ? ".text" : ".rodata", address, bytes, isCode }], () => false);

describe("in a linked kernel", () => {
  test.each<[string, readonly number[], number]>([
    ["call", [0x90, 0xe8, 0, 0, 0, 0], 2],
    ["jmp", [0x90, 0xe9, 0, 0, 0, 0], 2],
    ["jne", [0x0f, 0x85, 0, 0, 0, 0], 2],
  ])("%s by distance is a call", (_, bytes, field) => {
    expect(usesIn(code(bytes, field, meant - (text + field + 4)))).toEqual({ calls: [text + field], others: [] });
  });

  test.each<[string, Uint8Array, boolean]>([
    ["lea of its address", code([0x48, 0x8d, 0x05, 0, 0, 0, 0], 3, meant - (text + 7)), true],
    ["mov of its number", code([0x48, 0xc7, 0xc7, 0, 0, 0, 0], 3, meant), true],
    ["a pointer in data", Uint8Array.from(pointer(meant)), false],
    ["a distance in data", code([0, 0, 0, 0, 0, 0, 0, 0], 4, meant - (text + 4)), false],
    ["a pointer of a packed structure", Uint8Array.from([1, 2, 3, 4, ...pointer(meant)]), false],
  ])("%s is something else", (_, bytes, isCode) => {
    const { calls, others } = usesIn(bytes, isCode);
    expect(calls).toEqual([]);
    expect(others).toHaveLength(1);
  });

  test("other functions, halves of pointers, and tables of places are none", () => {
    expect(usesIn(code([0xe8, 0, 0, 0, 0], 1, meant + 1 - (text + 5)))).toEqual({ calls: [], others: [] });
    expect(usesIn(Uint8Array.from([...pointer(meant).slice(0, 4), 0, 0, 0, 0]), false).others).toEqual([]);
    expect(usesIn(code([0xbe, 0, 0, 0, 0], 1, meant - (text + 5)))).toEqual({ calls: [], others: [] });
    const padding = [0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
    expect(usesIn(Uint8Array.from(padding), true, meant - padding.length)).toEqual({ calls: [], others: [] });
    const piece = { name: ".init.data", address: 0, bytes: Uint8Array.from(pointer(meant)), isCode: false };
    expect(linkedUses(meant, [piece], () => true).others).toEqual([]);
  });
});

function pointer(address: number): number[] {
  return [...new Uint8Array(BigInt64Array.from([BigInt(address)]).buffer)];
}

describe("in a module", () => {
  const start = `
.text
.globl meant
meant: ret
own: call meant
near: call local
local: ret
.section .text.other,"ax"
far: call meant
jmp meant+0
.section __mcount_loc,"a"
.quad meant
.section .orc_unwind_ip,"a"
.long meant - .
.section .init.text,"ax"
call meant
`;
  const usesOf = (source: string, name: string) => {
    const object = new ModuleObject("sample", assemble(source), "sample.ko");
    const uses = object.usesOfFunction(object.symbolsNamed(name)[0]?.address ?? 0);
    const callers = uses?.calls.map((at) => object.symbolsAt(object.functionAt(at) ?? 0)[0]?.name);
    return { callers, others: uses?.others };
  };

  test("calls have relocations, or are filled by the assembler; tables of places are none, but init code is", () => {
    expect(usesOf(start, "meant")).toEqual({ callers: ["own", "far", "far", undefined], others: [] });
    expect(usesOf(start, "local")).toEqual({ callers: ["near"], others: [] });
  });

  test.each([
    ['.section .data,"aw"\n.quad meant\n', ".data+0x0 holds its address"],
    ['.section .text.more,"ax"\nlea meant(%rip), %rdi\n', ".text.more+0x3 holds its address"],
    ['.section .text.more,"ax"\nmov $meant, %rdi\n', ".text.more+0x3 holds its address"],
    ['.section .static_call_keys,"aw"\n.quad .text\n', ".static_call_keys+0x0 holds its address"],
  ])("a place that holds its address is told: %s", (more, told) => {
    expect(usesOf(`${start}${more}`, "meant").others).toEqual([told]);
  });
});
