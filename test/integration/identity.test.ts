import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RelocationX86 } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { build, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let tree: string;

beforeAll(async () => {
  tree = (await stockKernel()).tree.path;
});
afterAll(() => scratch.remove());

test("the jump table of the BPF interpreter leads into the new code", async () => {
  const patch = scratch.patch(tree, {
    "kernel/bpf/core.c": replace("\tALU_NEG:\n\t\tDST = (u32) -DST;", "\tALU_NEG:\n\t\tDST = (u32) ~DST;"),
  });
  const { result } = await build([patch], scratch.folder());
  expect(result.refusals).toEqual([]);
  expect(result.functions).toMatchObject([{ name: "___bpf_prog_run", change: "changed", proven: true }]);
  expect(result.symbols.map(({ name }) => name).filter((name) => name.startsWith("jumptable"))).toEqual([]);
  const module = new ElfReader(readFileSync(result.module?.path ?? ""));
  const text = module.section(".text");
  const labels = module.sections
    .filter(({ name }) => name.startsWith(".rodata"))
    .flatMap(({ index }) => module.relocationsFor(index))
    .filter(({ type, symbol }) => type === RelocationX86.abs64 && module.symbols[symbol]?.section === text?.index);
  // One place for each of the opcodes.
  expect(labels).toHaveLength(256);
});

test("what runs once in the kernel's life does not run again in new code", async () => {
  const patch = scratch.patch(tree, {
    "net/ipv6/inet6_hashtables.c": replace(
      "\tfhash = __ipv6_addr_jhash(faddr, ipv6_hash_secret);",
      "\tfhash = __ipv6_addr_jhash(faddr, ipv6_hash_secret) ^ 5;",
    ),
  });
  const { result } = await build([patch], scratch.folder());
  expect(result.refusals).toEqual([]);
  // Two of each in one function, told apart by the lines of their declarations.
  const bases = result.symbols.map(({ name }) => name.replace(/\.\d+$/, ""));
  for (const name of ["___done", "___once_key"]) expect(bases.filter((base) => base === name)).toHaveLength(2);
  for (const name of ["inet6_ehash_secret", "ipv6_hash_secret"]) expect(bases).toContain(name);
  const module = new ElfReader(readFileSync(result.module?.path ?? ""));
  expect(module.symbols.filter(({ name, section }) => /^___(done|once_key)/.test(name) && section > 0)).toEqual([]);
});
