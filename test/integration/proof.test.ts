import {
  chmodSync,
  copyFileSync,
  openSync,
  readdirSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import { readHeader, readPlaces } from "../../src/kernel/types/btf-sections.ts";
import { kmend } from "../cli/captured.ts";
import { build, functionNames, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const scratch = new Scratch();
let kernel: TargetKernel;

beforeAll(async () => {
  kernel = (await stockKernel()).kernel;
});
afterAll(() => scratch.remove());

describe("a tampered kernel image", () => {
  let image: string;
  beforeAll(() => {
    image = join(scratch.folder(), "vmlinux");
    copyFileSync(kernel.image.unpacked.path, image);
    chmodSync(image, 0o644);
  });

  /** Offset in the image file of a byte of a function. */
  function placeOf(name: string, offset: number): number {
    const [index] = kernel.image.kallsyms().indicesOf(name);
    const address = kernel.image.kallsyms().addressOf(index as number) + offset;
    const section = kernel.image.sectionAt(address);
    if (section === undefined) throw new Error(`the image has no section for ${name}`);
    return section.offset + (address - section.address);
  }

  async function flipped(place: number, work: () => Promise<void>): Promise<void> {
    const file = openSync(image, "r+");
    const byte = new Uint8Array(1);
    readSync(file, byte, 0, 1, place);
    const flip = (): number => writeSync(file, Uint8Array.of((byte[0] as number) ^ 0x10), 0, 1, place);
    flip();
    await work();
    writeSync(file, byte, 0, 1, place);
  }

  // Byte 5 follows the call of __fentry__; bytes 1 to 4 are the place of its relocation.
  test.each([5, 6, 20, 0])("a flipped byte at +%i of the patched function is found there", async (offset) => {
    await flipped(placeOf("meminfo_proc_show", offset), async () => {
      const output = scratch.folder();
      const { exitCode, result } = await build([example], output, "--image", image);
      expect(exitCode).toBe(4);
      expect(result.refusals.map(({ code, what }) => [code, what])).toContainEqual([
        "UNPROVEN_FUNCTION",
        "meminfo_proc_show",
      ]);
      const refusal = result.refusals.find(({ code }) => code === "UNPROVEN_FUNCTION");
      expect(refusal?.where).toBe(`fs/proc/meminfo.c: meminfo_proc_show+0x${offset.toString(16)}`);
      expect(refusal?.why).toMatch(/byte 0x[0-9a-f]+ is [0-9a-f]{2} in the target and [0-9a-f]{2} here/);
      expect(readdirSync(output)).toEqual([]);
    });
  });

  test("a flipped byte of another address than the function calls is found there", async () => {
    await flipped(placeOf("meminfo_proc_show", 2), async () => {
      const { exitCode, result } = await build([example], scratch.folder(), "--image", image);
      expect(exitCode).toBe(4);
      expect(result.refusals[0]?.where).toBe("fs/proc/meminfo.c: meminfo_proc_show+0x1");
    });
  });

  test("a flipped byte of a function of the unit that the patched one calls is found", async () => {
    const edit = replace(
      /\tif \(READ_ONCE\(net->ipv4\.sysctl_icmp_echo_ignore_all\)\)/,
      (line) => `\tif (skb->len == 77777)\n\t\treturn SKB_NOT_DROPPED_YET;\n${line}`,
    );
    const { tree } = await stockKernel();
    const patch = scratch.patch(tree.path, { "net/ipv4/icmp.c": edit });
    await flipped(placeOf("icmp_reply", 6), async () => {
      const { exitCode, result } = await build([patch], scratch.folder(), "--image", image);
      expect(exitCode).toBe(4);
      expect(result.refusals.map(({ code, what }) => [code, what])).toEqual([["UNPROVEN_FUNCTION", "icmp_echo"]]);
      expect(result.refusals[0]?.where).toBe("net/ipv4/icmp.c: icmp_reply+0x6");
      expect(result.refusals[0]?.why).toContain(
        "icmp_echo reaches icmp_reply, and icmp_reply compiled here is not the kernel's",
      );
    });
  });

  test("a flipped byte of an unrelated function does not matter", async () => {
    await flipped(placeOf("version_proc_show", 5), async () => {
      const { exitCode, result } = await build([example], scratch.folder(), "--image", image);
      expect(exitCode).toBe(0);
      expect(functionNames(result)).toEqual(["meminfo_proc_show"]);
    });
  });

  test("types that the kernel has differently are named with the function that could not be proven", async () => {
    // As if the kernel had been built with another struct seq_file.
    const section = kernel.image.sections.find(({ name }) => name === ".BTF");
    const data = kernel.image.btf as Uint8Array;
    const types = new Btf(data, "vmlinux");
    const [type] = types.find(BtfKind.struct, "seq_file") as [number];
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const place = readPlaces(view, readHeader(view, "vmlinux"), "vmlinux")[type - types.first] as number;
    // The size stands behind the name and the kind.
    await flipped((section?.offset ?? 0) + place + 8, () =>
      flipped(placeOf("meminfo_proc_show", 6), async () => {
        const { exitCode, result } = await build([example], scratch.folder(), "--image", image);
        expect(exitCode).toBe(4);
        const refusal = result.refusals.find(({ code }) => code === "UNPROVEN_FUNCTION");
        expect(refusal?.hint).toMatch(
          /types of this unit are not those of vmlinux: struct seq_file: its size changes from \d+ to \d+ bytes/,
        );
      }),
    );
  });

  test("an image that was cut off is refused, compressed or not", async () => {
    const cut = scratch.folder();
    copyFileSync(image, join(cut, "vmlinux"));
    truncateSync(join(cut, "vmlinux"), 30_000_000);
    copyFileSync(kernel.imagePath, join(cut, "vmlinuz"));
    chmodSync(join(cut, "vmlinuz"), 0o644);
    truncateSync(join(cut, "vmlinuz"), 3_000_000);
    writeFileSync(join(cut, "empty"), "");
    writeFileSync(join(cut, "text"), "no kernel\n".repeat(100));
    for (const name of ["vmlinux", "vmlinuz", "empty", "text", "missing"]) {
      const output = scratch.folder();
      const words = ["build", example, "--kernel", "newest", "--image", join(cut, name), "-o", output];
      const { exitCode, stderr } = await kmend(...words);
      expect(exitCode, `${name}: ${stderr}`).not.toBe(0);
      expect(stderr.match(/^error\[/gm), `${name}: ${stderr}`).toHaveLength(1);
      expect(stderr, name).not.toContain("INTERNAL");
      expect(stderr, name).toContain(join(cut, name));
      expect(readdirSync(output)).toEqual([]);
    }
  });
});

describe("another compiler", () => {
  const path = process.env["PATH"];
  afterEach(() => {
    process.env["PATH"] = path;
  });

  test("is an error that prints both versions", async () => {
    const folder = scratch.folder();
    const program = kernel.image.banner.compiler.split(" ")[0] as string;
    for (const name of new Set([program, "gcc"])) {
      writeFileSync(join(folder, name), `#!/bin/sh\necho "${name} (Debian 99.1.0-7) 99.1.0"\n`, { mode: 0o755 });
    }
    process.env["PATH"] = `${folder}:${path}`;
    // Nor can a build root be made.
    writeFileSync(join(folder, "unshare"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const output = scratch.folder();
    const { exitCode, stderr } = await kmend("build", example, "--kernel", "newest", "-o", output);
    expect(exitCode).toBe(5);
    expect(stderr).toContain("error[COMPILER_DIFFERS]");
    expect(stderr).toContain("(Debian 99.1.0-7) 99.1.0");
    expect(stderr).toContain(kernel.image.banner.compiler);
    expect(stderr).toContain("--skip-gcc-check");
    expect(readdirSync(output)).toEqual([]);
  });
});
