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

const told = ({ refusals }: { refusals: readonly { code: string; what: string }[] }): string[] =>
  refusals.map(({ code, what }) => `${code} ${what}`);

test("a list that only gets another name is refused: the new one would be empty", async () => {
  const rename = (text: string): string => text.replace(/\bformats\b/g, "binary_formats");
  const { exitCode, result } = await build([scratch.patch(tree, { "fs/exec.c": rename })], scratch.folder());
  expect([exitCode, told(result)]).toEqual([4, ["STATE_RENAMED binary_formats"]]);
});

test("operations by whose address files are recognised are refused, and their functions are not", async () => {
  const path = "fs/eventfd.c";
  const operations = scratch.patch(tree, { [path]: replace(/\t\.llseek\t\t= noop_llseek,\n/, "") });
  const { exitCode, result } = await build([operations], scratch.folder());
  expect([exitCode, told(result)]).toEqual([4, ["ADDRESS_COMPARED eventfd_fops"]]);
  expect(result.refusals[0]).toMatchObject({
    unit: path,
    object: "vmlinux",
    function: expect.stringContaining("eventfd"),
  });
});

test("a callback that gets another name leaves sockets with the old code, which is told", async () => {
  const rename = (text: string): string =>
    text
      .replace(/\bsock_def_wakeup\b/g, "sock_wake_all")
      .replace(/(static void sock_wake_all\(struct sock \*sk\)\n\{\n)/, "$1\tbarrier();\n");
  const { result } = await build([scratch.patch(tree, { "net/core/sock.c": rename })], scratch.folder());
  expect(result.refusals).toEqual([]);
  expect(result.warnings.map(({ code, function: name }) => `${code} ${name}`)).toContain(
    "GONE_CALLBACK sock_def_wakeup",
  );
});

test("an alias of a module that changes is told, since files of modules stay as they are", async () => {
  const alias = scratch.patch(tree, {
    "fs/fuse/inode.c": replace('MODULE_ALIAS_FS("fuse");', 'MODULE_ALIAS_FS("fuse");\nMODULE_ALIAS("fs-other");'),
  });
  const { exitCode, result } = await build([alias], scratch.folder());
  expect([exitCode, result.outcome]).toEqual([3, "unchanged"]);
  expect(result.notes.join()).toMatch(/\+ (fuse\.)?alias=fs-other/);
});
