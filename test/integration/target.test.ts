import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, statSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compareCompiler } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { findNameTables } from "../../src/kernel/image/kallsyms-tables.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { LazyFile } from "../../src/kernel/image/lazy-file.ts";
import { type ShippedModule, ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import { readSymvers } from "../../src/kernel/modules/symvers.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { runKbuild } from "../../src/kernel/tree/kbuild.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { SilentProgress } from "../../src/support/progress.ts";

const context = { cache: cacheRoot(), progress: new SilentProgress() };
const kernels = await new Debian().kernels(context);
/** The newest release of a flavour whose source is on offer. */
const newest = (pattern: RegExp): string | undefined =>
  kernels.filter(({ release, hasSource }) => hasSource && pattern.test(release)).at(-1)?.release;

const releases = [newest(/^6\.1\.0-\d+-amd64$/), newest(/^6\.12\.\d+\+deb\d+-amd64$/)].filter(
  (release) => release !== undefined,
);

describe.each(releases)("stock kernel %s", (release) => {
  let kernel: TargetKernel;
  let tree: PreparedTree;
  let scratch: string;
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "kmend-units-"));
    kernel = await findTargetKernel({ kernel: release });
    const { program } = await compareCompiler(kernel.image.banner);
    tree = await prepareTree(kernel, { compiler: program });
    // The prepared tree is everybody's: units are compiled in a copy.
    execFileSync("cp", ["-a", "--reflink=auto", `${tree.path}/.`, scratch]);
  });
  afterAll(() => rm(scratch, { recursive: true, force: true }));

  test("symbols, exports and modules fit together", async () => {
    const kallsyms = kernel.image.kallsyms();
    expect(kallsyms.count).toBeGreaterThan(80_000);
    expect(kernel.image.banner.release).toBe(release);
    expect(kernel.image.btf?.length).toBeGreaterThan(1_000_000);
    const symvers = await readSymvers(kernel.symversPath);
    const exported = [...symvers.names()].filter((name) => symvers.get(name)?.owner === "vmlinux");
    expect(exported.length).toBeGreaterThan(5_000);
    expect(exported.filter((name) => kallsyms.indicesOf(name).length === 0)).toEqual([]);
    const modules = await ShippedModules.open(kernel.modulesDir);
    const ext4 = await modules.read(modules.find("ext4") as ShippedModule);
    expect(ext4.subarray(0, 4)).toEqual(Buffer.from("\x7fELF"));
  });

  test("damage of the symbol tables is found, or stays with the symbol that it hit", () => {
    const file = Buffer.from(kernel.image.unpacked.file.view(0, kernel.image.unpacked.file.size));
    const section = kernel.image.sections.find(({ name }) => name === ".rodata");
    const tables = findNameTables(file.subarray(section?.offset, (section?.offset ?? 0) + (section?.size ?? 0)), true);
    if (section === undefined || typeof tables !== "object") throw new Error("the image has no symbol tables");
    const kallsyms = kernel.image.kallsyms();
    const { names, tokenTable, tokenIndex, count } = tables;
    const offsets = [
      names + 100,
      names + 700_001,
      tokenTable + 40,
      tokenTable + 300,
      tokenIndex + 81,
      tokenIndex + 512 + 4 * 70_000,
    ];
    for (const offset of [...offsets, names - 8, tokenIndex + 512 + 4 * count + 2]) {
      const at = section.offset + offset;
      const byte = file[at] as number;
      file[at] = byte ^ 1;
      const image = new KernelImage({
        path: "vmlinux",
        file: LazyFile.of(file),
        sha256: "",
        folder: join(scratch, "kallsyms", `${offset}`),
      });
      let wrong = 0;
      try {
        const found = image.kallsyms();
        expect(found.count).toBe(count);
        for (let index = 0; index < count; index++) {
          const same =
            found.nameBytes(index).equals(kallsyms.nameBytes(index)) &&
            found.addressOf(index) === kallsyms.addressOf(index);
          if (!same) wrong++;
        }
      } catch (error) {
        expect((error as { code: string }).code).toMatch(/^KALLSYMS_(DAMAGED|MISSING)$/);
      }
      expect(wrong, `offset ${offset}`).toBeLessThan(2);
      file[at] = byte;
    }
  });

  test("single objects are compiled with the commands that the top makefile uses", async () => {
    const units = ["fs/proc/meminfo.o", "drivers/block/zram/zcomp.o"];
    const command = (unit: string): string => readFileSync(commandFile(unit), "latin1");
    const commandFile = (unit: string): string => join(scratch, dirname(unit), `.${basename(unit)}.cmd`);
    const flags = "-ffunction-sections -fdata-sections";
    execFileSync("make", [...tree.makeArguments, `KCFLAGS=${flags}`, "-s", ...units], {
      cwd: scratch,
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
    });
    const expected = units.map((unit) => [command(unit), readFileSync(join(scratch, unit), "hex")]);
    for (const unit of units) for (const file of [commandFile(unit), join(scratch, unit)]) rmSync(file);
    await runKbuild(tree.environment, scratch, units, { jobs: 2, compilerFlags: flags.split(" ") });
    expect(units.map((unit) => [command(unit), readFileSync(join(scratch, unit), "hex")])).toEqual(expected);
    expect(expected[0]?.[0]).toContain(flags);
    expect(expected[1]?.[0]).toContain("-DMODULE");
  });

  test("finding it again takes what was unpacked before", async () => {
    const unpacked = kernel.image.unpacked.path;
    const before = statSync(unpacked);
    const again = await findTargetKernel({ kernel: release });
    expect(again.image.kallsyms().indicesOf("schedule").length).toBe(1);
    expect(again.image.unpacked.path).toBe(unpacked);
    const after = statSync(unpacked);
    expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
  });
});

describe.each([newest(/-cloud-amd64$/), newest(/-rt-amd64$/)].filter((release) => release !== undefined))(
  "flavour %s",
  (release) => {
    test("its files are found and its symbols decoded", async () => {
      const kernel = await findTargetKernel({ kernel: release });
      expect(kernel.image.banner.release).toBe(release);
      expect(kernel.image.kallsyms().indicesOf("schedule").length).toBe(1);
      expect(await readdir(kernel.modulesDir ?? "")).toContain("modules.order");
      expect((await readSymvers(kernel.symversPath)).size).toBeGreaterThan(5_000);
    });
  },
);

test("no kernel that is asked for: the nearest releases on offer, and the newest", async () => {
  for (const release of releases) {
    // One digit more than a release that is there.
    const asked = release.replace(/(\d)(\+deb\d+)?-amd64$/, "$10$2-amd64");
    const nearest = /available are:\n {2}(\S+?)(?:,| \(no source\))/;
    const error = await findTargetKernel({ kernel: asked }).catch((thrown: unknown) => thrown as KmendError);
    expect(error).toMatchObject({ code: "KERNEL_NOT_OFFERED", exitCode: 2 });
    if (!(error instanceof KmendError)) throw error;
    expect(nearest.exec(error.why ?? "")?.[1]).toBe(release);
  }
  await expect(findTargetKernel({ kernel: "1.2.3-none" })).rejects.toMatchObject({
    code: "KERNEL_NOT_OFFERED",
    hint: expect.stringContaining(`--kernel newest for ${releases[0]}`),
    exitCode: 2,
  });
});
