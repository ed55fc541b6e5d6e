import { expect, test } from "vitest";
import { x86_64 } from "../../src/diff/arch/x86-64.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { assemble } from "../fixtures/compile.ts";

/** Forms of instructions with a RIP-relative operand that kernel code holds. */
const forms = [
  "mov var(%rip), %eax",
  "mov %r12, var(%rip)",
  "lea var(%rip), %rdi",
  "movl $1, var(%rip)",
  "movq $1, var(%rip)",
  "movw $1, var(%rip)",
  "movb $1, var(%rip)",
  "cmpl $1, var(%rip)",
  "cmpl $0x12345, var(%rip)",
  "cmpq $0x12345, var(%rip)",
  "cmpw $0x1234, var(%rip)",
  "cmpb $1, var(%rip)",
  "cmpw $1, %gs:var(%rip)",
  "incl %gs:var(%rip)",
  "testb $1, var(%rip)",
  "testl $0x12345, var(%rip)",
  "testw $0x1234, var(%rip)",
  "notl var(%rip)",
  "mull var(%rip)",
  "shll $3, var(%rip)",
  "shll var(%rip)",
  "shll %cl, var(%rip)",
  "imul $3, var(%rip), %eax",
  "imul $0x12345, var(%rip), %rax",
  "imul $0x1234, var(%rip), %ax",
  "imul var(%rip), %eax",
  "btsl $3, var(%rip)",
  "lock btsq %rax, var(%rip)",
  "lock xaddl %eax, var(%rip)",
  "lock xaddq %r9, var(%rip)",
  "lock xaddb %al, var(%rip)",
  "lock cmpxchgl %ecx, var(%rip)",
  "lock cmpxchg16b var(%rip)",
  "lock cmpxchg8b var(%rip)",
  "movzbl var(%rip), %eax",
  "movslq var(%rip), %rax",
  "cmovne var(%rip), %eax",
  "setne var(%rip)",
  "shld $3, %eax, var(%rip)",
  "shrd %cl, %eax, var(%rip)",
  "xchg %eax, var(%rip)",
  "addq $-128, var(%rip)",
  "orl $0x80000000, var(%rip)",
  "call *var(%rip)",
  "jmp *var(%rip)",
  "push var(%rip)",
  "invlpg var(%rip)",
  "lgdt var(%rip)",
  "prefetchw var(%rip)",
  "fxsave var(%rip)",
  "popcnt var(%rip), %eax",
  "movbe var(%rip), %eax",
  "invpcid var(%rip), %rax",
  "crc32l var(%rip), %eax",
  "call var",
  "jmp var",
  "jne var",
];

test.each(forms)("%s: the distance from its place to its end is known", (form) => {
  const elf = new ElfReader(assemble(`nop\n${form}\nend: ret\n`));
  const text = elf.section(".text");
  const [relocation] = elf.relocationsFor(text?.index as never);
  const end = elf.symbols.find(({ name }) => name === "end")?.value ?? 0;
  expect(relocation).toBeDefined();
  const tail = x86_64.instructionTail(text?.data as Uint8Array, relocation?.offset ?? 0, relocation?.type ?? 0);
  expect(tail).toBe(end - (relocation?.offset ?? 0));
});
