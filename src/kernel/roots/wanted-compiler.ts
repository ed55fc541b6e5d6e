import type { KernelBanner } from "../image/banner.ts";
import type { CompilerArchive, OfferedPackage } from "../sources/distribution/compiler-archive.ts";
import { compareDebianVersions } from "../sources/distribution/debian-version.ts";

/** A compiler as a package of a distribution. */
export interface WantedCompiler {
  /** Package and version, such as `gcc-14` and `14.2.0-19`. */
  readonly name: string;
  readonly version: string;
  /** Number in the name of its packages. */
  readonly series: string;
  /** Program in /usr/bin by the name that the kernel says. */
  readonly program: string;
  /** Upstream version of the linker; empty where the kernel does not tell. */
  readonly linker: string;
}

/**
 * The package that a kernel's compiler is from. Debian and its derivatives write its version into what the compiler says of itself: `gcc-14 (Debian 14.2.0-19) 14.2.0`.
 * @returns undefined for compilers of other places, and for clang.
 */
export function wantedCompiler({ compiler, linker }: KernelBanner): WantedCompiler | undefined {
  const match = /^((?:[\w]+-linux-gnu-)?gcc(?:-([\d.]+))?) \(\w+ (\d[^)\s]*)\) (\d+)\./.exec(compiler);
  if (match === null) return undefined;
  const [, program, named, version, major] = match as unknown as [string, string, string | undefined, string, string];
  const series = named ?? major;
  return {
    ...{ name: `gcc-${series}`, version, series },
    program: named === undefined ? `${program}-${series}` : program,
    linker: /\) (\d+\.[\d.]+)$/.exec(linker)?.[1] ?? "",
  };
}

/** What a root is made of; the archive's own dependencies come with it. */
export interface RootPlan {
  readonly compiler: WantedCompiler;
  readonly packages: readonly OfferedPackage[];
}

/** The archive does not have that version; `neighbours` are those that it has. */
export interface NotOffered {
  readonly neighbours: readonly string[];
}

/**
 * Packages for a root with exactly this compiler. All that is built from its source is named with the version: an archive of several suites has others too, and
 * apt would choose the newest. The assembler is that of the linker's version where the archive has it, else the newest.
 */
export async function planRoot(compiler: WantedCompiler, archive: CompilerArchive): Promise<RootPlan | NotOffered> {
  const { name, series, version, linker } = compiler;
  const own = [name, `${name}-base`, `cpp-${series}`, `libgcc-${series}-dev`];
  const split = ["x86-64-linux-gnu", "aarch64-linux-gnu"].flatMap((triplet) => [
    `${name}-${triplet}`,
    `cpp-${series}-${triplet}`,
  ]);
  const offered = await archive.offered([...own, ...split, "binutils"]);
  const compilers = offered.filter((known) => known.name === name);
  if (!compilers.some((known) => known.version === version))
    return { neighbours: [...new Set(compilers.map((known) => known.version))].sort(compareDebianVersions) };
  const assemblers = offered.filter((known) => known.name === "binutils").sort(newestFirst);
  const assembler = assemblers.find((known) => linker !== "" && isUpstream(known.version, linker)) ?? assemblers[0];
  const packages = offered.filter((known) => known.name !== "binutils" && known.version === version);
  return { compiler, packages: assembler === undefined ? packages : [...packages, assembler] };
}

function newestFirst(a: OfferedPackage, b: OfferedPackage): number {
  return compareDebianVersions(b.version, a.version);
}

/** True for a package of that upstream version: `2.44-3` of 2.44, and not 2.44.50. */
function isUpstream(version: string, upstream: string): boolean {
  return version.startsWith(upstream) && !/^[\d.]*\d/.test(version.slice(upstream.length));
}
