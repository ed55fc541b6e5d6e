import { expect, test } from "vitest";
import { parseBanner } from "../../src/kernel/image/banner.ts";
import { planRoot, type WantedCompiler, wantedCompiler } from "../../src/kernel/roots/wanted-compiler.ts";
import type { CompilerArchive } from "../../src/kernel/sources/distribution/compiler-archive.ts";

const wanted = (compiler: string, linker = "GNU ld (GNU Binutils for Debian) 2.44"): WantedCompiler | undefined =>
  wantedCompiler(parseBanner(`Linux version 6.12.9 (a@b) (${compiler}, ${linker}) #1`));

/** An archive with `name version` in each line. */
function archiveOf(...lines: readonly string[]): CompilerArchive {
  const all = lines.map((line) => {
    const [name = "", version = ""] = line.split(" ");
    return { name, version, size: 1000 };
  });
  return {
    name: "a.sources",
    offered: async (names) => all.filter(({ name }) => names.includes(name)),
    sources: async () => ["/a.sources"],
  };
}

test("the package of a compiler is what it says of itself", () => {
  expect(wanted("x86_64-linux-gnu-gcc-14 (Debian 14.9.0-19) 14.9.0")).toEqual({
    name: "gcc-14",
    version: "14.9.0-19",
    series: "14",
    program: "x86_64-linux-gnu-gcc-14",
    linker: "2.44",
  });
  expect(wanted("gcc-12 (Debian 12.9.0-14+deb12u1) 12.9.0")).toMatchObject({ name: "gcc-12", program: "gcc-12" });
  expect(wanted("gcc (Ubuntu 11.9.0-1ubuntu1~22.04) 11.9.0")).toMatchObject({
    name: "gcc-11",
    version: "11.9.0-1ubuntu1~22.04",
    program: "gcc-11",
  });
});

test("compilers that no package is named by are left alone", () => {
  expect(wanted("gcc (GCC) 14.1.0")).toBeUndefined();
  expect(wanted("Debian clang version 14.0.6")).toBeUndefined();
  expect(wanted("gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)")).toBeUndefined();
});

const compiler = wanted("x86_64-linux-gnu-gcc-14 (Debian 14.9.0-19) 14.9.0") as WantedCompiler;

test("a root has the compiler's own packages in its version, and the assembler of the linker's version", async () => {
  const archive = archiveOf(
    "gcc-14 14.9.0-19",
    "gcc-14 14.9.1-2",
    "cpp-14 14.9.1-2",
    "cpp-14 14.9.0-19",
    "libgcc-14-dev 14.9.0-19",
    "gcc-14-base 14.9.0-19",
    "binutils 2.44.50-1",
    "binutils 2.44-3",
    "binutils 2.46-1",
  );
  const plan = await planRoot(compiler, archive);
  expect("packages" in plan ? plan.packages.map(({ name, version }) => `${name}=${version}`).sort() : plan).toEqual([
    "binutils=2.44-3",
    "cpp-14=14.9.0-19",
    "gcc-14-base=14.9.0-19",
    "gcc-14=14.9.0-19",
    "libgcc-14-dev=14.9.0-19",
  ]);
});

test("an archive without the linker's version gives its newest assembler", async () => {
  const plan = await planRoot(compiler, archiveOf("gcc-14 14.9.0-19", "binutils 2.9-1", "binutils 2.46-1"));
  expect("packages" in plan ? plan.packages.at(-1)?.version : plan).toBe("2.46-1");
});

test("an archive that dropped the version names its neighbours in order", async () => {
  const archive = archiveOf("gcc-14 14.10.0-1", "gcc-14 14.9.0-2", "cpp-14 14.9.0-19");
  expect(await planRoot(compiler, archive)).toEqual({ neighbours: ["14.9.0-2", "14.10.0-1"] });
  expect(await planRoot(compiler, archiveOf())).toEqual({ neighbours: [] });
});
