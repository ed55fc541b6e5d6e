import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { release as runningRelease, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { build } from "../build/build.ts";
import type { BuildRequest } from "../build/build-facts.ts";
import type { BuildOptions, BuildResult } from "../build/build-types.ts";
import { readPatchFile } from "../change/patch-files.ts";
import { findTargetKernel } from "../kernel/find.ts";
import { type FinishedModule, finishedModule, readFinishedModule } from "../package/built-module.ts";
import { kernelOfPackage } from "../package/kernel-of-package.ts";
import { type Architecture, architectures, isRelease, nameFrom, requireArchitecture } from "../package/package-name.ts";
import type { ModuleOrder, PackageOrder } from "../package/package-order.ts";
import { type PackageChoices, type PackagedPatch, type PackagePlan, planPackage } from "../package/package-plan.ts";
import { type ModuleSigner, signModule } from "../package/sign-module.ts";
import { sourceDate } from "../package/source-date.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** How orders are carried out. */
export interface OrderOptions extends Pick<BuildOptions, "progress" | "signal"> {
  /** Program that the description names. */
  readonly program: string;
  /** Options of the builds. */
  readonly build?: Partial<BuildRequest> | undefined;
  readonly signer?: ModuleSigner | undefined;
  /** Kernels may be named without their architecture, and have to be on offer also for a spec, which is usually built where it is written. */
  readonly kernelsOnOffer?: boolean | undefined;
  /** False plans a package whose modules are built later, by rpmbuild. */
  readonly buildNow: boolean;
}

/** A plan, or the builds of which at least one made no module. */
export type OrderOutcome =
  | { readonly outcome: "planned"; readonly plan: PackagePlan }
  | { readonly outcome: "stopped"; readonly results: readonly BuildResult[] };

/**
 * Reads, builds and signs the modules of a package and lays it out.
 * @throws KmendError for everything that keeps it from that, except refused builds, which are part of the outcome.
 */
export async function planOrder(order: PackageOrder, given: OrderOptions): Promise<OrderOutcome> {
  // Modules say what they fix, as their package does.
  const options = { ...given, build: { ...given.build, cves: order.choices.cves } };
  const patches = await namedPatches(order.modules.flatMap((module) => module.patches));
  const files = await Promise.all(order.files.map(readFinishedModule));
  requireKernel(files, order.filesFor);
  const built = options.buildNow ? await buildModules(order.modules, options) : { modules: [], results: [] };
  if (built.results.some(({ outcome }) => outcome !== "built")) return { outcome: "stopped", results: built.results };
  const finished = await Promise.all([...files, ...built.modules].map((module) => signed(module, options)));
  const later = options.buildNow ? [] : await laterModules(order.modules, options);
  const releases = options.buildNow ? built.modules.map(({ release }) => release) : later.map(({ release }) => release);
  const patchesOf = new Map(
    order.modules.map((module, index) => [
      releases[index] as string,
      module.patches.map((path) => [...patches.keys()].indexOf(path)),
    ]),
  );
  const architecture = order.architecture ?? finished[0]?.architecture ?? (architectures[62] as Architecture);
  requireArchitecture(releases, architecture);
  const inputs = [...patches.keys(), ...order.files];
  const plan = planPackage(
    {
      architecture,
      modules: [
        ...finished.map((module) => ({ file: module.file, release: module.release, finished: module })),
        ...later,
      ],
      kernels: order.kernels,
      patches: [...patches.values()],
      patchesOf,
      ownTree: !options.buildNow && options.build?.source !== undefined,
      buildWords: options.buildNow ? [] : laterWords(options.build),
      origin: origin(
        [...patches.values()].map(({ name }) => name),
        finished,
        options.program,
      ),
      epoch: await sourceDate(inputs),
    },
    order.choices,
  );
  return { outcome: "planned", plan };
}

/** Modules that were built before, and what their package is to say. */
export interface FinishedOrder {
  readonly choices: PackageChoices;
  readonly architecture: Architecture;
  /** Each with its patches in the order in which they were applied. */
  readonly modules: readonly {
    readonly finished: FinishedModule;
    readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  }[];
  /** Patches by their SHA-256. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
  /** Seconds since 1970 that stand for the time of the build. */
  readonly epoch: number;
}

/** Lays out the package that {@link planOrder} would, of modules that are built already. @throws KmendError as `planPackage`. */
export function planFinished({ choices, architecture, modules, contents, epoch }: FinishedOrder): PackagePlan {
  const keyOf = ({ name, sha256 }: { name: string; sha256: string }): string => `${sha256} ${name}`;
  const all = new Map(modules.flatMap(({ patches }) => patches.map((patch) => [keyOf(patch), patch] as const)));
  const keys = [...all.keys()];
  const taken = new Set<string>();
  const patches = [...all.values()].map(({ name, sha256 }) => packagedPatch(name, contentOf(contents, sha256), taken));
  requireArchitecture(
    modules.map(({ finished }) => finished.release),
    architecture,
  );
  return planPackage(
    {
      architecture,
      modules: modules.map(({ finished }) => ({ file: finished.file, release: finished.release, finished })),
      patches,
      patchesOf: new Map(
        modules.map(({ finished, patches: own }) => [finished.release, own.map((patch) => keys.indexOf(keyOf(patch)))]),
      ),
      origin: origin(
        patches.map(({ name }) => name),
        [],
        "kmend",
      ),
      epoch,
    },
    choices,
  );
}

function contentOf(contents: ReadonlyMap<string, Uint8Array>, sha256: string): Uint8Array {
  const content = contents.get(sha256);
  if (content === undefined) throw new Error(`the patch ${sha256} was not handed over`);
  return content;
}

/** @throws KmendError `USAGE` (exit 2) for modules of another kernel than the one that was named. */
function requireKernel(modules: readonly FinishedModule[], kernel: string | undefined): void {
  const other = modules.find(
    ({ release, architecture }) => kernel !== undefined && !isRelease(release, kernel, architecture),
  );
  if (other === undefined) return;
  throw new KmendError({
    code: "USAGE",
    message: `${other.file} is for ${other.release}, not for ${kernel}`,
    why: "a finished module is for the kernel that it was built for, and for no other",
    hint: "leave --kernel out, or build the patch for that kernel",
    exitCode: ExitCode.usage,
  });
}

function origin(patches: readonly string[], modules: readonly FinishedModule[], program: string): string {
  const from = patches.length > 0 ? patches : modules.map(({ file }) => file);
  const sources = [...new Set(from)].join(", ");
  return sources === ""
    ? "Live patches for this kernel will replace this package."
    : `Package generated from ${sources} by ${program}`;
}

/** Patches by path, each with a file name that is safe and unique. */
async function namedPatches(paths: readonly string[]): Promise<ReadonlyMap<string, PackagedPatch>> {
  const patches = new Map<string, PackagedPatch>();
  const taken = new Set<string>();
  for (const path of new Set(paths)) {
    const { content } = await readPatchFile(path);
    patches.set(path, packagedPatch(basename(path), content, taken));
  }
  return patches;
}

/** @param taken names of files that others of the package have; the new one is added. */
function packagedPatch(name: string, content: Uint8Array, taken: Set<string>): PackagedPatch {
  const safe = nameFrom(name);
  let file = safe;
  for (let number = 2; taken.has(file); number++) file = `${number}-${safe}`;
  taken.add(file);
  return { name, file, content };
}

async function buildModules(
  orders: readonly ModuleOrder[],
  options: OrderOptions,
): Promise<{ readonly modules: readonly FinishedModule[]; readonly results: readonly BuildResult[] }> {
  const modules: FinishedModule[] = [];
  const results: BuildResult[] = [];
  const folder = await mkdtemp(join(tmpdir(), "kmend-package-"));
  try {
    for (const [index, { kernel, name, patches }] of orders.entries()) {
      const output = join(folder, String(index));
      await mkdir(output);
      const { progress, signal } = options;
      const isAsked = kernel === undefined || kernel === "newest";
      const release = isAsked ? kernel : await namedRelease(kernel, options);
      const result = await build({ ...options.build, patches, kernel: release, name, output, progress, signal });
      results.push(result);
      if (result.module !== null) modules.push(await readFinishedModule(result.module.path));
    }
    return { modules, results };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function signed(module: FinishedModule, options: OrderOptions): Promise<FinishedModule> {
  if (options.signer === undefined) return module;
  return finishedModule(module.file, await signModule(module.content, options.signer, options.signal));
}

/** What decides how a module is made, as options of the build that a spec starts; what only names files of this machine is none of them. */
function laterWords({
  replace,
  allowLayout = [],
  removable,
  adapt,
  cves = [],
  maxUnits,
  skipCompilerCheck,
  archive,
}: Partial<BuildOptions>): string[] {
  return [
    ...(replace === false ? ["--no-replace"] : []),
    ...(removable === true ? ["--removable"] : []),
    ...(adapt === true ? ["--adapt"] : []),
    ...cves.flatMap((id) => ["--fixes", id]),
    ...allowLayout.flatMap((type) => ["--allow-layout", type]),
    ...(maxUnits === undefined ? [] : ["--max-units", String(maxUnits)]),
    ...(skipCompilerCheck === true ? ["--skip-gcc-check"] : []),
    ...(archive?.distribution === undefined ? [] : ["--distribution", archive.distribution]),
  ];
}

/** Names and kernels of modules that a spec will build. */
async function laterModules(
  orders: readonly ModuleOrder[],
  options: OrderOptions,
): Promise<{ readonly file: string; readonly release: string }[]> {
  const { progress, signal, build: choices } = options;
  const modules = [];
  for (const { kernel, name } of orders) {
    const source = choices?.source;
    const isAsked = source !== undefined && (kernel === "newest" || kernel === undefined);
    const release = isAsked
      ? (await findTargetKernel({ kernel, source, image: choices?.image, makeImage: false, progress, signal })).release
      : await namedRelease(kernel, options);
    modules.push({ file: `${name}.ko`, release });
  }
  return modules;
}

/** The whole release of a kernel that an archive has; that of a source tree or of RPMs is as it was given. */
async function namedRelease(kernel: string | undefined, options: OrderOptions): Promise<string> {
  const { build: choices, kernelsOnOffer, progress, signal } = options;
  if (kernel === undefined) return runningRelease();
  const isFromArchive = choices?.source === undefined && choices?.rpms === undefined;
  if (!isFromArchive || (kernelsOnOffer !== true && kernel !== "newest")) return kernel;
  return kernelOfPackage(kernel, {
    archive: choices?.archive,
    series: choices?.series,
    // A build that begins now says this itself, and may have what it needs in its cache.
    toBuild: !options.buildNow,
    progress,
    signal,
  });
}
