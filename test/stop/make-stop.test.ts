import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RelocationX86 as R, SectionFlag } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { functionsInForce } from "../../src/patch-module/functions-in-force.ts";
import { readPatchModule } from "../../src/patch-module/patch-module.ts";
import { makeStop, type StopRequest } from "../../src/stop/make-stop.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { type ShippedStyle, stopKernel } from "./stop-kernel.ts";

async function made(names: readonly string[], style: ShippedStyle = {}, request: Partial<StopRequest> = {}) {
  const result = await makeStop(stopKernel(style), { functions: names.map((name) => parseWanted(name)), ...request });
  if (result.outcome === "refused") throw new Error(JSON.stringify(result.refusals));
  return { ...result, elf: new ElfReader(result.file) };
}

/** Bytes of a function, in hexadecimal digits. */
function codeOf(elf: ElfReader, name: string): string {
  const symbol = elf.symbols.find((one) => one.name === name);
  const section = elf.sections[symbol?.section ?? 0];
  const start = symbol?.value ?? 0;
  return Buffer.from(section?.data.subarray(start, start + (symbol?.size ?? 0)) ?? []).toString("hex");
}

/** Names of what the places of a section refer to, with type and addend, of livepatch relocations too. */
function placesOf(elf: ElfReader, section: string): string[] {
  const index = elf.section(section)?.index;
  if (index === undefined) return [];
  return elf
    .relocationsFor(index)
    .map(({ offset, type, symbol, addend }) => ({
      offset,
      text: `${offset}: ${type} ${elf.symbols[symbol]?.name}+${addend}`,
    }))
    .sort((a, b) => a.offset - b.offset)
    .map(({ text }) => text);
}

const fentry = "e800000000";
const returns = "e900000000cc";

describe("code", () => {
  test("answers by the type of the function, with landing pad, trace call and return thunk", async () => {
    const { elf } = await made(["int_call", "long_call", "bool_call", "pointer_call", "void_call"]);
    const start = `f30f1efa${fentry}`;
    expect(codeOf(elf, "int_call")).toBe(`${start}b8ffffffff${returns}`);
    expect(codeOf(elf, "long_call")).toBe(`${start}48c7c0ffffffff${returns}`);
    expect(codeOf(elf, "bool_call")).toBe(`${start}31c0${returns}`);
    expect(codeOf(elf, "pointer_call")).toBe(`${start}31c0${returns}`);
    expect(codeOf(elf, "void_call")).toBe(`${start}${returns}`);
    expect(elf.symbols.filter(({ name }) => name.endsWith("_call")).map(({ value }) => value % 16)).toEqual([
      0, 0, 0, 0, 0,
    ]);
  });

  test("has the form of the kernel's own modules", async () => {
    const style = { landingPads: false, padding: false, fentry: "nop", returnThunk: false, callSites: false } as const;
    const { elf } = await made(["int_call"], style);
    expect(codeOf(elf, "int_call")).toBe("0f1f440000b8ffffffffc3cc");
    expect(elf.symbols.find(({ name }) => name === "int_call")?.value).toBe(0);
    for (const section of [".return_sites", ".call_sites"]) expect(elf.section(section)).toBeUndefined();
  });

  test("lists its traced places, returns and calls, and has unwind data from the first to the last byte of each section", async () => {
    const { elf } = await made(["int_call"]);
    expect(placesOf(elf, "__mcount_loc")).toEqual([`0: ${R.abs64} .text+20`, `8: ${R.abs64} .init.text+20`]);
    expect(placesOf(elf, ".return_sites")).toEqual([
      `0: ${R.pc32} .text+30`,
      `4: ${R.pc32} .init.text+91`,
      `8: ${R.pc32} .exit.text+20`,
    ]);
    expect(placesOf(elf, ".call_sites")).toEqual([`0: ${R.pc32} .text+20`]);
    const ends = [".text", ".init.text", ".exit.text"].flatMap((name) => [
      `${name}+0`,
      `${name}+${elf.section(name)?.size}`,
    ]);
    expect(placesOf(elf, ".orc_unwind_ip").map((text) => text.split(" ")[2])).toEqual(ends);
    const entries = Buffer.from(elf.section(".orc_unwind")?.data ?? []).toString("hex");
    expect(entries).toBe("080000000502000000000000".repeat(3));
    expect([...(elf.section(".orc_header")?.data ?? [])]).toEqual([1, 2, 3, 4]);
  });

  test("has the type hashes of the kernel's own modules before what the kernel calls through pointers", async () => {
    const nops = "90".repeat(11);
    const [init, exit] = ["b8a6c5b136", "b8330b541a"];
    const preambleOf = (elf: ElfReader, name: string): string => {
      const mark = elf.symbols.find((one) => one.name === `__cfi_${name}`);
      const of = elf.symbols.find((one) => one.name === name);
      expect([mark?.section, (mark?.value ?? 0) + (mark?.size ?? 0), (of?.value ?? 1) % 16]).toEqual([
        ...[of?.section, of?.value],
        0,
      ]);
      return codeOf(elf, `__cfi_${name}`);
    };
    const { elf: listed } = await made(["int_call"], { cfi: "listed" });
    expect(preambleOf(listed, "init_module")).toBe(`${init}${nops}`);
    expect(preambleOf(listed, "cleanup_module")).toBe(`${exit}${nops}`);
    expect(placesOf(listed, ".cfi_sites")).toEqual([`0: ${R.pc32} .init.text+0`, `4: ${R.pc32} .exit.text+0`]);
    // Nothing calls the function itself through a pointer.
    expect(Buffer.from(listed.section(".text")?.data.subarray(0, 16) ?? []).toString("hex")).toMatch(
      /^(cc){5}(90){11}$/,
    );
    const { elf: last } = await made(["int_call"], { cfi: "last" });
    expect(preambleOf(last, "init_module")).toBe(`${nops}${init}`);
    expect(preambleOf(last, "cleanup_module")).toBe(`${nops}${exit}`);
    expect(last.section(".cfi_sites")).toBeUndefined();
  });

  test("enables the patch only where the build id is the one that it was made for", async () => {
    const { elf } = await made(["int_call"]);
    // mov, lea, cmp, mov, ja, mov, repz cmpsb, jne, mov, jmp; mov, xor, call, mov -ENOEXEC, jmp
    expect(codeOf(elf, "init_module")).toBe(
      `f30f1efa${fentry}48c7c700000000488d4724483d00000000b924000000771748c7c600000000f3a6750c48c7c700000000e900000000` +
        `48c7c70000000031c0e800000000b8f8ffffff${returns}`,
    );
    expect(placesOf(elf, ".init.text").map((text) => text.split(" ")[2])).toEqual([
      ".klp.sym.vmlinux.__fentry__,0+-4",
      ".klp.sym.vmlinux.__start_notes,0+20",
      ".klp.sym.vmlinux.__stop_notes,0+0",
      ".rodata+0",
      ".data+0",
      ".klp.sym.vmlinux.klp_enable_patch,0+-4",
      expect.stringMatching(/^\.rodata\+/),
      ".klp.sym.vmlinux._printk,0+-4",
      ".klp.sym.vmlinux.__x86_return_thunk,0+-4",
    ]);
    const copy = Buffer.from(elf.section(".rodata")?.data.subarray(0, 36) ?? []);
    expect(copy.toString("hex")).toBe(`04000000${"14000000"}03000000474e5500${"ab".repeat(20)}`);
  });
});

describe("structures", () => {
  test("have the places that the kernel's types give them, and end with empty entries", async () => {
    const { elf, file } = await made(["int_call", "twin_call,3=-EACCES", "void_call"]);
    const [patch, objects, funcs] = [0, 200, 200 + 2 * 168];
    const at = (offset: number): string | undefined =>
      placesOf(elf, ".data").find((text) => text.startsWith(`${offset}: `));
    expect(at(patch)).toBe(`0: ${R.abs64} __this_module+0`);
    expect(at(patch + 8)).toBe(`8: ${R.abs64} .data+${objects}`);
    expect(at(objects)).toBeUndefined();
    expect(at(objects + 8)).toBe(`${objects + 8}: ${R.abs64} .data+${funcs}`);
    for (const [index, name] of ["int_call", "twin_call", "void_call"].entries())
      expect(at(funcs + index * 152 + 8)).toBe(`${funcs + index * 152 + 8}: ${R.abs64} ${name}+0`);
    const data = Buffer.from(elf.section(".data")?.data ?? []);
    expect([0, 1, 2].map((index) => data.readUInt32LE(funcs + index * 152 + 16))).toEqual([0, 3, 0]);
    expect(data.length).toBe(funcs + 4 * 152);
    expect(functionsInForce(new ElfReader(file))).toMatchObject([
      { object: "vmlinux", name: "int_call", sympos: 0 },
      { object: "vmlinux", name: "twin_call", sympos: 3 },
      { object: "vmlinux", name: "void_call", sympos: 0 },
    ]);
  });

  test("struct module has the name and the two functions", async () => {
    const { elf } = await made(["int_call"], {}, { name: "stop-it" });
    const data = Buffer.from(elf.section(".gnu.linkonce.this_module")?.data ?? []);
    expect(data.length).toBe(896);
    expect(data.toString("latin1", 24, 32)).toBe("stop_it\0");
    expect(placesOf(elf, ".gnu.linkonce.this_module")).toEqual([
      `312: ${R.abs64} init_module+0`,
      `848: ${R.abs64} cleanup_module+0`,
    ]);
  });

  test("a kernel whose types and modules disagree about struct module gets no module", async () => {
    const kernel = stopKernel();
    const { kernelTypes } = await import("./stop-kernel.ts");
    const other = { kind: 4, name: "module", word: 904, tail: [["name", 1, 0]] };
    const request = { functions: [parseWanted("int_call")] };
    const several = { ...kernel, types: kernelTypes([other as never]) };
    await expect(makeStop(several, request)).rejects.toMatchObject({ code: "STOP_LAYOUT", exitCode: 4 });
  });
});

describe("the log", () => {
  test("counts each call, and reports it as often as the kernel's rate limit lets it", async () => {
    const { elf } = await made(["int_call"], {}, { log: true });
    expect(codeOf(elf, "int_call")).toBe(
      `f30f1efa${fentry}f048ff050000000048c7c700000000e80000000085c07412488b342448c7c70000000031c0e800000000b8ffffffff${returns}`,
    );
    expect(placesOf(elf, ".text").map((text) => text.split(" ")[2])).toEqual([
      ".klp.sym.vmlinux.__fentry__,0+-4",
      ".data+836",
      expect.stringMatching(/^\.rodata\+/),
      ".klp.sym.vmlinux.__printk_ratelimit,0+-4",
      expect.stringMatching(/^\.rodata\+/),
      ".klp.sym.vmlinux._printk,0+-4",
      ".klp.sym.vmlinux.__x86_return_thunk,0+-4",
    ]);
    expect(placesOf(elf, "__param").map((text) => text.split(" ")[2])).toEqual([
      expect.stringMatching(/^\.rodata\+/),
      "__this_module+0",
      ".klp.sym.vmlinux.param_ops_ulong,0+0",
      ".data+840",
    ]);
    const parameter = Buffer.from(elf.section("__param")?.data ?? []);
    expect([parameter.readUInt16LE(24), parameter.readInt8(26)]).toEqual([0o444, -1]);
  });
});

describe("the file", () => {
  test("is the same for the same request, and known as what it is", async () => {
    const request = { reason: "CVE-2026-12345: until the fix\nis there", log: true };
    const [one, two] = [await made(["int_call"], {}, request), await made(["int_call"], {}, request)];
    expect(Buffer.compare(one.file, two.file)).toBe(0);
    const module = readPatchModule("stop.ko", one.file);
    expect(module).toMatchObject({
      ...{ name: "stop_int_call", release: "9.9.0-test", depends: [], signed: false, seal: "intact" },
      manifest: {
        ...{ schema: 1, replace: false, cves: ["CVE-2026-12345"], patches: [] },
        kernel: { release: "9.9.0-test", buildId: "ab".repeat(20) },
        functions: [{ name: "int_call", object: "vmlinux", sympos: 0 }],
        symbols: [
          ...["__fentry__", "__printk_ratelimit", "__start_notes", "__stop_notes", "__x86_return_thunk", "_printk"],
          ...["klp_enable_patch", "param_ops_ulong"],
        ].map((symbol) => ({ name: symbol, object: "vmlinux", sympos: 0 })),
        stop: { reason: "CVE-2026-12345: until the fix is there", answers: ["-EPERM"], counters: ["hits_0_int_call"] },
      },
    });
    expect(module.info.get("vermagic")).toEqual(["9.9.0-test SMP mod_unload modversions "]);
    expect(module.info.get("livepatch")).toEqual(["Y"]);
    expect(module.info.get("retpoline")).toEqual(["Y"]);
    expect(module.info.get("kmend.stop")).toEqual(["int_call=-EPERM"]);
    expect(module.buildIdNote?.length).toBe(36);
    expect(one.elf.section(".note.Linux")?.size).toBe(24);
  });

  test("one byte of another answer gives another build id, and a damaged module is noticed", async () => {
    const [one, two] = [await made(["int_call"]), await made(["int_call=-EACCES"])];
    const id = (elf: ElfReader): string => Buffer.from(elf.section(".note.gnu.build-id")?.data ?? []).toString("hex");
    expect(id(one.elf)).not.toBe(id(two.elf));
    const damaged = Uint8Array.from(one.file);
    damaged[(one.elf.section(".text")?.offset ?? 0) + 26] = 0;
    expect(() => readPatchModule("stop.ko", damaged)).toThrowError(/not as it was built/);
  });

  test("needs the version of struct module alone, and livepatch relocations for all symbols of the kernel", async () => {
    const { elf } = await made(["int_call"]);
    const versions = Buffer.from(elf.section("__versions")?.data ?? []);
    expect([versions.length, versions.readUInt32LE(0), versions.toString("latin1", 8, 22)]).toEqual([
      64,
      0xabcd1234,
      "module_layout\0",
    ]);
    expect(elf.symbols.slice(1).filter(({ section }) => section === 0)).toEqual([]);
    const flagged = elf.sections
      .filter(({ flags }) => (flags & SectionFlag.relaLivepatch) !== 0)
      .map(({ name }) => name);
    expect(flagged.sort()).toEqual([
      ".klp.rela.vmlinux..exit.text",
      ".klp.rela.vmlinux..init.text",
      ".klp.rela.vmlinux..text",
    ]);
    const without = await made(["int_call"], { versions: false });
    expect(without.elf.section("__versions")).toBeUndefined();
  });
});

test("of the kernel's modules any one does, however many of them are missing", async () => {
  const kernel = stopKernel();
  const names = Array.from({ length: 60 }, (_, at) => `kernel/missing${at}.ko\n`);
  writeFileSync(join(kernel.modulesDir ?? "", "modules.order"), `${names.join("")}kernel/loop.ko\n`);
  expect((await makeStop(kernel, { functions: [parseWanted("int_call")] })).outcome).toBe("made");
});

test("a kernel that does not have each symbol of the module once, and an old one, get none", async () => {
  const kernel = stopKernel();
  const request = { functions: [parseWanted("int_call")] };
  const without = (missing: string) => ({
    ...kernel,
    symbolsNamed: (name: string) => (name === missing ? [] : kernel.symbolsNamed(name)),
  });
  await expect(makeStop(without("__start_notes"), request)).rejects.toMatchObject({
    code: "STOP_NO_SYMBOL",
    exitCode: 4,
  });
  expect((await makeStop(without("param_ops_ulong"), request)).outcome).toBe("made");
  const logged = makeStop(without("param_ops_ulong"), { ...request, log: true });
  await expect(logged).rejects.toMatchObject({ hint: expect.stringContaining("without --log") });
  const old = { ...kernel, release: "5.7.19-test" };
  await expect(makeStop(old, request)).rejects.toMatchObject({ code: "STOP_OLD_KERNEL", exitCode: 4 });
});

test("a kernel whose modules do not show how they are made is refused", async () => {
  const request = { functions: [parseWanted("int_call")] };
  for (const style of [{ cfi: "no hash" }, { cfi: "unmarked" }, { exit: false }] as const)
    await expect(makeStop(stopKernel(style), request)).rejects.toMatchObject({ code: "STOP_NO_MODULE", exitCode: 4 });
});
