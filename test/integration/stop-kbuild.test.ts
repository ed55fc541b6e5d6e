import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { ElfSymbol, Section } from "../../src/elf/model.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { readVersions } from "../../src/elf/symbol-versions.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { imageKernel } from "../../src/stop/image-kernel.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { run } from "../../src/support/run.ts";
import { kmend } from "../cli/captured.ts";
import { newestOf612, preparedKernel, Scratch, testedKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** What is stopped: a function of each kind of result, and one of a module. */
const functions = [
  "ptrace_attach",
  "userfaultfd_ioctl",
  "ptrace_may_access",
  "nexthop_find_by_id",
  "arch_report_meminfo",
];
const names = [...functions, "algif_hash:hash_sendmsg=-95"];

/** The same in C, as people write such modules by hand. */
const source = `
#include <linux/module.h>
#include <linux/livepatch.h>
static int ptrace_attach(void) { return -EPERM; }
static long userfaultfd_ioctl(void) { return -EPERM; }
static bool ptrace_may_access_(void) { return false; }
static void *nexthop_find_by_id_(void) { return NULL; }
static void arch_report_meminfo_(void) { }
static int hash_sendmsg(void) { return -95; }
static struct klp_func vmlinux_funcs[] = {
	{ .old_name = "ptrace_attach", .new_func = ptrace_attach },
	{ .old_name = "userfaultfd_ioctl", .new_func = userfaultfd_ioctl },
	{ .old_name = "ptrace_may_access", .new_func = ptrace_may_access_ },
	{ .old_name = "nexthop_find_by_id", .new_func = nexthop_find_by_id_ },
	{ .old_name = "arch_report_meminfo", .new_func = arch_report_meminfo_ }, { }
};
static struct klp_func module_funcs[] = { { .old_name = "hash_sendmsg", .new_func = hash_sendmsg }, { } };
static struct klp_object objects[] = {
	{ .funcs = vmlinux_funcs }, { .name = "algif_hash", .funcs = module_funcs }, { }
};
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };
static unsigned long hits;
module_param_named(hits_0_ptrace_attach, hits, ulong, 0444);
static int __init stop_init(void) { return klp_enable_patch(&patch); }
static void __exit stop_exit(void) { }
module_init(stop_init);
module_exit(stop_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("by hand");
`;

/** Both modules for a kernel. */
async function both(
  release: string,
): Promise<{ readonly own: ElfReader; readonly logged: ElfReader; readonly byHand: ElfReader }> {
  const { kernel, tree } = await preparedKernel(release);
  const folder = scratch.folder();
  writeFileSync(join(folder, "by_hand.c"), source);
  writeFileSync(join(folder, "Makefile"), "obj-m := by_hand.o\n");
  await run("make", [...tree.makeArguments, `M=${folder}`, "modules"], { cwd: tree.path });
  const read = async (log: boolean, wanted: readonly string[]): Promise<ElfReader> => {
    const request = { functions: wanted.map((name) => parseWanted(name)), name: "by_hand", log };
    const result = await makeStop(imageKernel(kernel), request);
    if (result.outcome === "refused") throw new Error(JSON.stringify(result.refusals));
    return new ElfReader(result.file);
  };
  const byHand = new ElfReader(readFileSync(join(folder, "by_hand.ko")));
  return { own: await read(false, names), logged: await read(true, ["ptrace_attach"]), byHand };
}

/** A place as it is meant: what a pointer leads to, whatever symbol and addend the linker chose. */
interface Meant {
  readonly section: string;
  readonly offset: number;
  readonly function: string | undefined;
}

function meant(elf: ElfReader, symbolIndex: number, addend: number): Meant {
  const symbol = elf.symbols[symbolIndex] as ElfSymbol;
  const section = elf.sections[symbol.section];
  const offset = symbol.value + addend;
  const found = elf.symbols.find((one) => one.type === 2 && one.section === symbol.section && one.value === offset);
  return { section: symbol.section > 0 ? (section?.name ?? "") : symbol.name, offset, function: found?.name };
}

function pointers(elf: ElfReader, section: string): Map<number, Meant> {
  const index = elf.section(section)?.index;
  const list = index === undefined ? [] : elf.relocationsFor(index);
  return new Map(list.map(({ offset, symbol, addend }) => [offset, meant(elf, symbol, addend)]));
}

/** The name of a symbol, with the underscore away that keeps it apart from the kernel's declaration, and under its alias of an init or exit function. */
const plain = (name: string | undefined): string => {
  const bare = (name ?? "").replace(/^\.klp\.sym\.vmlinux\.(.+),0$/, "$1");
  const alias = { stop_init: "init_module", stop_exit: "cleanup_module" }[bare];
  return alias ?? bare.replace(/([^_])_$/, "$1");
};

/** Code of a function without what relocations fill, up to its return, with the symbols of the kernel that it reaches. */
function codeOf(elf: ElfReader, name: string) {
  const symbol = elf.symbols.find((one) => plain(one.name) === name && one.type === 2) as ElfSymbol;
  const section = elf.sections[symbol.section] as Section;
  // The compiler leaves no breakpoint behind the last jump.
  const bytes = Buffer.from(section.data.subarray(symbol.value, symbol.value + symbol.size))
    .toString("hex")
    .replace(/cc$/, "");
  const reached = [...pointers(elf, section.name)]
    .filter(([offset]) => offset >= symbol.value && offset < symbol.value + symbol.size)
    .sort(([a], [b]) => a - b)
    .map(([offset, place]) => [offset - symbol.value, plain(place.section)]);
  return { bytes, reached, aligned: symbol.value % 16 };
}

/** Entries of a table about code: the function that each is in, and where in it. */
function tableOf(elf: ElfReader, table: string, only: readonly string[]): string[] {
  const entries: string[] = [];
  for (const place of pointers(elf, table).values()) {
    const home = elf.symbols
      .filter(
        (one) =>
          one.type === 2 &&
          elf.sections[one.section]?.name === place.section &&
          one.value <= place.offset &&
          !one.name.startsWith("__pfx_"),
      )
      .sort((a, b) => b.value - a.value)[0];
    const name = plain(home?.name);
    if (only.includes(name)) entries.push(`${name}+${place.offset - (home?.value ?? 0)}`);
  }
  return entries.sort();
}

/** The live patch as the kernel will read it: objects with functions. */
function livePatch(elf: ElfReader, sizes: { object: number; func: number }, from: { section: string; offset: number }) {
  const inData = pointers(elf, from.section);
  const textAt = ({ section, offset }: Meant): string => {
    const data = Buffer.from(elf.section(section)?.data ?? []);
    return data.toString("latin1", offset, data.indexOf(0, offset));
  };
  const patch = { mod: inData.get(from.offset), objects: inData.get(from.offset + 8) };
  const objects = [];
  for (let at = patch.objects?.offset ?? 0; inData.has(at + 8); at += sizes.object) {
    const name = inData.get(at);
    const functions = [];
    for (let func = inData.get(at + 8)?.offset ?? 0; inData.has(func); func += sizes.func) {
      const data = Buffer.from(elf.section(from.section)?.data ?? []);
      functions.push({
        old: textAt(inData.get(func) as Meant),
        new: plain(inData.get(func + 8)?.function),
        rest: data.subarray(func, func + sizes.func).toString("hex"),
      });
    }
    objects.push({ name: name === undefined ? null : textAt(name), functions });
  }
  return { mod: patch.mod?.section, objects };
}

const kernels = [
  testedKernel,
  ...(process.env["KMEND_LONG_TESTS"] === "1"
    ? [await newestOf612(), (await newestOf612()).replace("-amd64", "-rt-amd64")]
    : [await newestOf612()]),
];

describe.each(kernels)("a stop module for %s, and one that Kbuild makes from the same in C", (release) => {
  const made = both(release);
  const all = [...functions, "hash_sendmsg"];

  test("have the same functions, which the kernel finds in the same tables", async () => {
    const { own, byHand } = await made;
    for (const name of [...all, "cleanup_module"]) expect(codeOf(own, name), name).toEqual(codeOf(byHand, name));
    for (const table of ["__mcount_loc", ".return_sites", ".call_sites"])
      expect(tableOf(own, table, [...all, "cleanup_module"]), table).toEqual(
        tableOf(byHand, table, [...all, "cleanup_module"]),
      );
  }, 600_000);

  test("have the same live patch, and the same struct module", async () => {
    const { own, byHand } = await made;
    const sizes = { object: 168, func: 152 };
    const patch = byHand.symbols.find(({ name }) => name === "patch") as ElfSymbol;
    const section = byHand.sections[patch.section]?.name ?? "";
    expect(livePatch(own, sizes, { section: ".data", offset: 0 })).toEqual(
      livePatch(byHand, sizes, { section, offset: patch.value }),
    );
    expect(
      livePatch(own, sizes, { section: ".data", offset: 0 }).objects.map(({ functions: list }) => list.length),
    ).toEqual([5, 1]);
    const structModule = (elf: ElfReader) => {
      const found = elf.section(".gnu.linkonce.this_module");
      const { type, flags, alignment, data } = found as Section;
      return {
        type,
        flags,
        alignment,
        data: Buffer.from(data).toString("hex"),
        places: [...pointers(elf, ".gnu.linkonce.this_module")]
          .map(([offset, { function: name }]) => [offset, plain(name)])
          .sort(),
      };
    };
    expect(structModule(own)).toEqual(structModule(byHand));
  });

  test("have the same parameter for a count", async () => {
    const { logged, byHand } = await made;
    const parameter = (elf: ElfReader) => {
      const { type, flags, alignment, size, data } = elf.section("__param") as Section;
      const places = [...pointers(elf, "__param")]
        .sort(([a], [b]) => a - b)
        .map(([offset, { section }]) => [offset, plain(section).replace(/^\.(rodata.*|data|bss)$/, "own")]);
      return { type, flags, alignment, size, data: Buffer.from(data).toString("hex"), places };
    };
    expect(parameter(logged)).toEqual(parameter(byHand));
  });

  test("unwind alike, and are known to the loader alike", async () => {
    const { own, byHand } = await made;
    const entryOf = (elf: ElfReader, name: string): string => {
      const symbol = elf.symbols.find((one) => plain(one.name) === name && one.type === 2) as ElfSymbol;
      const section = elf.sections[symbol.section]?.name;
      const size = (elf.section(".orc_unwind")?.size ?? 0) / ((elf.section(".orc_unwind_ip")?.size ?? 0) / 4);
      const entries = [...pointers(elf, ".orc_unwind_ip")]
        .filter(([, place]) => place.section === section && place.offset <= symbol.value)
        .sort(([, a], [, b]) => b.offset - a.offset);
      const at = ((entries[0]?.[0] ?? 0) / 4) * size;
      return Buffer.from(elf.section(".orc_unwind")?.data.subarray(at, at + size) ?? []).toString("hex");
    };
    for (const name of [...all, "init_module", "cleanup_module"])
      expect(entryOf(own, name), name).toBe(entryOf(byHand, name));
    for (const key of ["vermagic", "license", "livepatch", "depends", "retpoline", "name"])
      expect(readModinfo(own).get(key), key).toEqual(readModinfo(byHand).get(key));
    const layout = (elf: ElfReader) => readVersions(elf).find(({ name }) => name === "module_layout");
    expect(layout(own)).toEqual(layout(byHand));
    const contentOf = (elf: ElfReader, name: string): string =>
      Buffer.from(elf.section(name)?.data ?? []).toString("hex");
    expect(contentOf(own, ".orc_header")).toBe(contentOf(byHand, ".orc_header"));
    // The build salt is that of the distribution's build, and of no other from the same source.
    const salt = Buffer.from(own.section(".note.Linux")?.data ?? []).toString("latin1");
    expect(salt).toContain(release === "newest" ? readModinfo(own).get("vermagic")?.[0]?.split(" ")[0] : release);
  });

  test("have the same sections but for those that are known", async () => {
    const { own, byHand } = await made;
    const shape = (elf: ElfReader): Map<string, string> =>
      new Map(
        elf.sections
          .filter(({ flags, size }) => (flags & 2) !== 0 && size > 0)
          .map(({ name, type, flags }) => [name, `type ${type}, flags 0x${flags.toString(16)}`]),
      );
    const [ours, theirs] = [shape(own), shape(byHand)];
    const shared = [...ours].filter(([name]) => theirs.has(name));
    expect(Object.fromEntries(shared)).toEqual(Object.fromEntries(shared.map(([name]) => [name, theirs.get(name)])));
    // Livepatch relocations reach what Kbuild's module imports; the manifest is kmend's own.
    expect([...ours.keys()].filter((name) => !theirs.has(name)).sort()).toEqual(
      [
        ...[".klp.rela.vmlinux..exit.text", ".klp.rela.vmlinux..init.text", ".klp.rela.vmlinux..text", ".note.kmend"],
        ...(theirs.has(".rodata") ? [] : [".rodata"]),
      ].sort(),
    );
    // Texts have sections of their own there; parameters are in the other module here; the rest says what a processor may do, and places for call thunks of functions that nothing calls.
    expect(
      [...theirs.keys()].filter(
        (name) =>
          !ours.has(name) &&
          !/^(\.rodata.*|\.bss|__param|\.(init|exit)\.data|\.note\.gnu\.property|__patchable_function_entries|\.data\..*|\.ibt_endbr_seal)$/.test(
            name,
          ),
      ),
    ).toEqual([]);
  });
});

test("--dry-run for another kernel needs no file to be named, and writes none; data of a processor is no function", async () => {
  const words = ["stop", "--kernel", testedKernel, "--dry-run"];
  const { exitCode, stdout, stderr } = await kmend(...words, "ptrace_attach", "--json");
  expect(exitCode, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ path: null, functions: [{ name: "ptrace_attach", returns: "-EPERM" }] });
  const data = await kmend(...words, "fixed_percpu_data");
  expect([data.exitCode, data.stdout]).toEqual([4, ""]);
  const image = imageKernel(await findTargetKernel({ kernel: testedKernel }));
  expect([...image.tracedNames()]).not.toContain("fixed_percpu_data");
});
