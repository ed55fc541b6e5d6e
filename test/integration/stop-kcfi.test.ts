import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { sealModule, unsealed } from "../../src/patch-module/seal.ts";
import { imageKernel } from "../../src/stop/image-kernel.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { tryModule } from "../../src/vm/try.ts";
import { newestOf612, Scratch } from "./stock-kernel.ts";
import { tinyKernel } from "./tiny-kernel.ts";

const long = process.env["KMEND_LONG_TESTS"] === "1";
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** Only clang makes them, and only its own linker links such a kernel. */
const compiler = ["LLVM=-16"];
const config = `
CONFIG_CFI_CLANG=y
CONFIG_CPU_MITIGATIONS=y
CONFIG_MITIGATION_RETPOLINE=y
CONFIG_MITIGATION_RETHUNK=y
CONFIG_X86_KERNEL_IBT=y
CONFIG_CRC16=m
`;

/** KMEND_KCFI_KERNEL names a folder with such a kernel that was built before: its build folder `o` and its modules `mods`. */
const ready = process.env["KMEND_KCFI_KERNEL"];

interface Built {
  readonly imagePath: string;
  readonly release: string;
  readonly modulesDir: string;
}

async function builtKernel(): Promise<Built> {
  const folder = ready ?? scratch.path;
  const [output, modules] = [join(folder, "o"), join(folder, "mods")];
  if (ready === undefined) {
    const { tree, config: chosen } = await tinyKernel(folder, config, { release: await newestOf612(), make: compiler });
    const words = ["-s", "-C", tree, `O=${output}`, ...compiler];
    const make = (...targets: string[]) =>
      execFileSync("make", [...words, ...targets], { stdio: ["ignore", "ignore", "inherit"] });
    mkdirSync(output);
    copyFileSync(chosen, join(output, ".config"));
    make(`-j${availableParallelism()}`, "bzImage", "modules");
    make(`INSTALL_MOD_PATH=${modules}`, "modules_install");
  }
  const release = readFileSync(join(output, "include/config/kernel.release"), "utf8").trim();
  return {
    ...{ release, imagePath: join(output, "arch/x86/boot/bzImage") },
    modulesDir: join(modules, "lib/modules", release),
  };
}

/** A whole kernel is compiled with clang: ten minutes on two cores. */
describe.skipIf(!long)("a kernel that checks the types of calls through pointers", { timeout: 3_600_000 }, () => {
  let built: Built;
  beforeAll(async () => {
    built = await builtKernel();
  });

  test("calls the init and exit function of a stop, and the stopped function answers", async () => {
    const image = await KernelImage.open(built.imagePath, cacheRoot());
    expect(
      image.kallsyms().indicesOf("handle_cfi_failure").length + image.kallsyms().indicesOf("report_cfi_failure").length,
    ).toBeGreaterThan(0);
    const request = { functions: [parseWanted("meminfo_proc_show=-EACCES")], name: "stop-meminfo", log: true };
    const made = await makeStop(imageKernel({ ...built, image }), request);
    if (made.outcome === "refused") throw new Error(JSON.stringify(made.refusals));
    const elf = new ElfReader(made.file);
    const shipped = new ElfReader(readFileSync(join(built.modulesDir, "kernel/fs/binfmt_misc.ko")));
    for (const name of ["__cfi_init_module", "__cfi_cleanup_module"])
      expect(preamble(elf, name), name).toEqual(preamble(shipped, name));
    const path = join(scratch.folder(), "stop-meminfo.ko");
    writeFileSync(path, made.file);
    const probes = ["cat /proc/meminfo >/dev/null 2>&1; echo $?", "dmesg | grep -c CFI.failure"];
    const result = await tryModule({ kernel: built, modulePath: path, probes });
    expect(result.verdict, JSON.stringify(result, undefined, 1)).toBe("passed");
    expect(result.probes[0]).toMatchObject({ before: "0", loaded: "1", after: "0" });
    expect(result.probes[1]).toMatchObject({ before: "0", loaded: "0", after: "0" });
  });

  test("and traps at the call of one with another hash", async () => {
    const image = await KernelImage.open(built.imagePath, cacheRoot());
    const made = await makeStop(imageKernel({ ...built, image }), {
      functions: [parseWanted("meminfo_proc_show=-EACCES")],
      name: "stop-meminfo",
    });
    if (made.outcome === "refused") throw new Error(JSON.stringify(made.refusals));
    const elf = new ElfReader(made.file);
    const section = elf.section(".init.text");
    const hash = made.file.subarray(section?.offset, (section?.offset ?? 0) + 5);
    expect(hash[0]).toBe(0xb8);
    hash[1] = (hash[1] ?? 0) ^ 1;
    const digest = readManifest(elf)?.seal ?? "";
    const place = Buffer.from(made.file.buffer, made.file.byteOffset, made.file.length).indexOf(digest);
    expect(digest).toHaveLength(unsealed.length);
    made.file.set(Buffer.from(unsealed, "latin1"), place);
    const path = join(scratch.folder(), "stop-meminfo.ko");
    writeFileSync(path, sealModule(made.file));
    const result = await tryModule({ kernel: built, modulePath: path });
    expect(result.verdict).toBe("failed");
    expect(JSON.stringify(result)).toMatch(/invalid opcode.*RIP: 0010:do_one_initcall/);
  });
});

/** The instruction with the hash. */
function preamble(elf: ElfReader, name: string): string {
  const symbol = elf.symbols.find((one) => one.name === name);
  const code = elf.sections[symbol?.section ?? 0]?.data ?? new Uint8Array(0);
  return Buffer.from(code.subarray(symbol?.value ?? 0, (symbol?.value ?? 0) + 5)).toString("hex");
}
