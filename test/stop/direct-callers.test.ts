import { expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import type { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { directCalls } from "../../src/stop/direct-callers.ts";
import { assemble } from "../fixtures/compile.ts";

/** Code behind a call of `wanted`, and whether the result counts as looked at. */
const behind: readonly (readonly [string, boolean])[] = [
  ["test %eax,%eax", true],
  ["test %rax,%rax", true],
  ["test %al,%al", true],
  ["cmp $-11,%eax", true],
  ["cmp $0x1000,%rax", true],
  ["cltq", true],
  ["mov %eax,%ebx", true],
  ["mov %rax,%r12", true],
  ["mov %eax,8(%rsp)", true],
  ["movzbl %al,%eax", true],
  ["movslq %eax,%r8", true],
  ["xor %eax,%eax", false],
  ["mov %ebx,%eax", false],
  ["mov %ebx,%ecx", false],
  ["test %ebx,%ebx", false],
  ["add $8,%rsp", false],
  ["ret", false],
];

test("direct calls are found with their functions, and with what is done with the result", () => {
  const callers = behind.map(([next], at) => `caller${at}: nop\ncall wanted\n${next}\nint3`);
  const elf = new ElfReader(assemble(`wanted: ret\n${callers.join("\n")}\ntail: jmp.d32 wanted\nother: call tail\n`));
  const data = elf.section(".text")?.data ?? new Uint8Array(0);
  const start = 0x1000;
  const symbols = elf.symbols
    .filter(({ name }) => /^(wanted|caller|tail|other)/.test(name))
    .map(({ name, value }) => ({ name, address: start + value }))
    .sort((a, b) => a.address - b.address);
  const image = {
    loaded: [
      { flags: 6, address: start, size: data.length },
      { flags: 2, address: 0x9000, size: data.length },
    ],
    contentOf: () => data,
    kallsyms: () => ({
      containing: (address: number) => symbols.findLastIndex((symbol) => symbol.address <= address),
      nameOf: (index: number) => symbols[index]?.name,
    }),
  } as unknown as KernelImage;
  expect(directCalls(image, start).map(({ from, looksAtResult }) => `${from} ${looksAtResult}`)).toEqual([
    ...behind.map(([, looks], at) => `caller${at} ${looks}`),
    "tail true",
  ]);
  // Code that was freed after boot calls nothing.
  const first = symbols.find(({ name }) => name === "caller1")?.address ?? 0;
  expect(directCalls(image, start, (place) => place >= first).map(({ from }) => from)).toEqual(["caller0"]);
});
