import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { InitMemory } from "../../src/kernel/image/init-memory.ts";
import { compareAddresses } from "../../src/kernel/image/kallsyms.ts";
import { bindingOf } from "../../src/kernel/image/kallsyms-binding.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { LazyFile } from "../../src/kernel/image/lazy-file.ts";
import { VmlinuxObject } from "../../src/match/vmlinux-object.ts";
import type { EncodedSymbol } from "./kallsyms-encoder.ts";
import { sampleSymbols, textAddress, tinyKernel } from "./tiny-kernel.ts";

/** Behind the text of the tiny kernel and before its data. */
const start = textAddress + 0x100000;

const symbols: readonly EncodedSymbol[] = [
  { address: 0, type: "A", name: "__per_cpu_start" },
  { address: 0x40, type: "A", name: "a_counter" },
  { address: 0x100, type: "A", name: "__per_cpu_end" },
  { address: start, type: "T", name: "kept" },
  { address: start + 0x10, type: "t", name: "only_here" },
  { address: start + 0x20, type: "W", name: "default_one" },
  { address: start + 0x1000, type: "D", name: "__init_begin" },
  { address: start + 0x1000, type: "T", name: "_sinittext" },
  { address: start + 0x1000, type: "T", name: "start_once" },
  { address: start + 0x1800, type: "T", name: "_einittext" },
  { address: start + 0x1900, type: "B", name: "command_line" },
  { address: start + 0x2000, type: "R", name: "__init_end" },
  { address: start + 0x2000, type: "R", name: "__smp_locks" },
  { address: start + 0x2100, type: "R", name: "__smp_locks_end" },
  { address: start + 0x2100, type: "D", name: "behind" },
];

function image(): KernelImage {
  const all = [...symbols, ...sampleSymbols(1500, false)].sort((a, b) => compareAddresses(a.address, b.address));
  const file = LazyFile.of(tinyKernel(all));
  return new KernelImage({ path: "vmlinux", file, sha256: "", folder: join(tmpdir(), "kmend-no-such-folder") });
}

test("what is between the marks of init memory is freed; the marks are no memory", () => {
  const memory = new InitMemory(image());
  const at = (name: string): string | undefined =>
    memory.at(symbols.find((symbol) => symbol.name === name)?.address ?? 0, name);
  expect(at("start_once")).toBe("the kernel's init memory");
  expect(at("command_line")).toBe("the kernel's init memory");
  for (const name of ["kept", "__init_begin", "_sinittext", "_einittext", "__init_end", "behind", "a_counter"])
    expect([name, at(name)]).toEqual([name, undefined]);
});

test("the letter tells who may refer to a symbol, except for those of the per-CPU area", () => {
  const kallsyms = image().kallsyms();
  const found = symbols.map(({ name }) => [name, bindingOf(kallsyms, kallsyms.indicesOf(name)[0] ?? 0)]);
  expect(Object.fromEntries(found)).toMatchObject({
    ...{ a_counter: undefined, kept: "global", only_here: "local", default_one: "weak", command_line: "global" },
  });
});

test("the names between two addresses come in their order", () => {
  const target = new VmlinuxObject(image(), "the tiny kernel");
  expect([...target.namesBetween(start, start + 0x1000)]).toEqual(["only_here", "default_one"]);
  expect([...target.namesBetween(start, start + 0x10)]).toEqual([]);
});
