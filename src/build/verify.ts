import { formatAddress } from "../elf/bytes.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import { ElfReader } from "../elf/reader.ts";
import { findTargetKernel } from "../kernel/find.ts";
import { KernelImage } from "../kernel/image/kernel-image.ts";
import { isOpenChoice, type KernelChoice, kernelChoice } from "../kernel/kernel-choice.ts";
import { type ExternalModule, readExternalModule } from "../kernel/modules/external-module.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { functionsInForce } from "../match/stacked-object.ts";
import type { Manifest } from "../patch-module/manifest.ts";
import { readManifest } from "../patch-module/manifest-note.ts";
import { readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { sealOf } from "../patch-module/seal.ts";
import { cacheRoot } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { TargetObjects } from "./resolve/target-objects.ts";
import { addressOf, digestAround, digestAt } from "./resolve/target-places.ts";

/** What `verify` is asked to do; the kernel is by default the one that the module was built for. */
export interface VerifyOptions extends Omit<KernelChoice, "source"> {
  /** Path of a patch module that kmend built. */
  readonly module: string;
  /** Folder of that kernel's modules, as /lib/modules/RELEASE. */
  readonly modules?: string | undefined;
  /** File of the patched module when it is not one of the kernel's own. */
  readonly external?: string | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the proof needs of a kernel. */
type VerifiedKernel = Pick<TargetKernel, "image" | "imagePath" | "modulesDir" | "release" | "buildId">;

/** One function or symbol of a module, held against a kernel again. */
export interface VerifiedItem {
  readonly kind: "function" | "symbol";
  readonly name: string;
  readonly object: string;
  readonly sympos: number;
  /** What is wrong, or null. */
  readonly problem: string | null;
}

/** The stable `--json` of `kmend verify`. */
export interface VerifyResult {
  readonly schema: 1;
  readonly outcome: "proven" | "failed";
  readonly module: { readonly path: string; readonly name: string };
  readonly builtFor: { readonly release: string; readonly buildId: string };
  readonly kernel: { readonly release: string; readonly buildId: string };
  /** Whether the module's file is as it was built; `unsealed` when it was built by a version of kmend that did not note its digest. */
  readonly file: "intact" | "altered" | "unsealed";
  readonly items: readonly VerifiedItem[];
}

/**
 * Repeats the proof of a patch module from its own manifest: every function that it replaces must have the bytes that were matched when it was built, and
 * every symbol that it reaches must be found by name and position where it was. Needs neither source nor compiler.
 * @throws KmendError `NOT_A_PATCH_MODULE`, `NO_MANIFEST`, and the errors of finding the kernel.
 */
export async function verifyModule(options: VerifyOptions): Promise<VerifyResult> {
  const file = await readPatchModuleFile(options.module);
  const elf = readModule(file, options.module);
  const manifest = readManifest(elf);
  if (manifest === undefined) {
    throw new KmendError({
      code: "NO_MANIFEST",
      message: `${options.module} does not say what it was built from`,
      why: "only patch modules that kmend built carry a manifest",
      hint: "build it again with kmend build",
    });
  }
  const progress = options.progress ?? new SilentProgress();
  const kernel = (await ownKernel(manifest, options)) ?? (await packagedKernel(manifest, { ...options, progress }));
  const objects = new TargetObjects(kernel, [], await externalModule(manifest, options));
  const items: VerifiedItem[] = unlistedFunctions(elf, manifest);
  for (const { name, object, sympos, address, bytes, sha256, surroundings } of manifest.functions) {
    const target = await objects.open(object);
    const found = addressOf(target, name, sympos);
    if (manifest.stop !== undefined) {
      // Nothing of a stopped function's code counts, only which function it is.
      const problem = found === undefined ? "the kernel does not find it by name and position" : null;
      items.push({ kind: "function", name, object, sympos, problem });
      continue;
    }
    const digest = found === undefined ? undefined : digestAt(target, found, bytes);
    // Modules of older versions do not have the second digest.
    const around =
      found === undefined || surroundings === undefined ? surroundings : digestAround(target, found, bytes);
    const problem =
      placeProblem(found, address) ??
      (digest === sha256 ? null : "its code is not the one that was matched when the module was built") ??
      (around === surroundings
        ? null
        : "what its code refers to, or what a table says about it, is not what was matched when the module was built");
    items.push({ kind: "function", name, object, sympos, problem });
  }
  for (const { name, object, sympos, address } of manifest.symbols) {
    const found = addressOf(await objects.open(object), name, sympos);
    const problem =
      address === undefined
        ? found === undefined
          ? "the kernel has no single symbol of this name"
          : null
        : (placeProblem(found, address) ?? null);
    items.push({ kind: "symbol", name, object, sympos, problem });
  }
  const seal = sealOf(file);
  const fits = kernel.buildId === manifest.kernel.buildId && items.every(({ problem }) => problem === null);
  return {
    schema: 1,
    outcome: fits && seal !== "altered" ? "proven" : "failed",
    module: { path: options.module, name: options.module.replace(/^.*\//, "").replace(/\.ko$/, "") },
    builtFor: manifest.kernel,
    kernel: { release: kernel.release, buildId: kernel.buildId },
    file: seal,
    items,
  };
}

function packagedKernel(manifest: Manifest, options: VerifyOptions): Promise<VerifiedKernel> {
  const { progress, signal } = options;
  const choice = kernelChoice(options);
  const kernel = isOpenChoice(choice) ? manifest.kernel.release : choice.kernel;
  return findTargetKernel({ ...choice, kernel, progress, signal });
}

/** A kernel whose files are all given, which needs no package: the image, and the modules when one of them is changed. */
async function ownKernel(
  manifest: Manifest,
  { kernel, image: path, rpms, modules, signal }: VerifyOptions,
): Promise<VerifiedKernel | undefined> {
  if (path === undefined || rpms !== undefined || kernel !== undefined) return undefined;
  const objects = [...manifest.functions, ...manifest.symbols].map(({ object }) => object);
  if (modules === undefined && objects.some((object) => object !== "vmlinux")) return undefined;
  const image = await KernelImage.open(path, cacheRoot(), signal);
  return { image, imagePath: path, modulesDir: modules, release: image.banner.release, buildId: image.buildId };
}

function readModule(file: Uint8Array, path: string): ElfReader {
  try {
    return new ElfReader(file);
  } catch (error) {
    throw error instanceof ElfFormatError ? error.in(path) : error;
  }
}

/** Functions that the module's own tables put in force and its manifest does not name. */
function unlistedFunctions(elf: ElfReader, manifest: Manifest): VerifiedItem[] {
  const key = (name: string, object: string, sympos: number): string => `${object} ${name} ${sympos}`;
  const listed = new Set(manifest.functions.map(({ name, object, sympos }) => key(name, object, sympos)));
  return functionsInForce(elf)
    .filter(({ name, object, sympos }) => !listed.has(key(name, object, sympos)))
    .map(({ name, object, sympos }) => ({
      ...({ kind: "function", name, object, sympos } as const),
      problem: "the module replaces it, and its manifest says nothing of it",
    }));
}

/** @throws KmendError `EXTERNAL_MODULE_NEEDED` (exit 2), and the errors of reading it. */
async function externalModule(
  { external }: Manifest,
  { external: path, signal }: VerifyOptions,
): Promise<ExternalModule | undefined> {
  if (path !== undefined) return readExternalModule(path, signal);
  if (external === undefined) return undefined;
  throw new KmendError({
    code: "EXTERNAL_MODULE_NEEDED",
    message: `the patched module ${external.name} is not one of the kernel's own`,
    why: "the proof is repeated against the file of the module that runs",
    hint: "give it with --oot-module FILE",
    exitCode: ExitCode.usage,
  });
}

function placeProblem(found: number | undefined, address: string): string | undefined {
  if (found === undefined) return "the kernel does not find it by name and position";
  const here = formatAddress(found);
  return here === address ? undefined : `it is at ${here}, and was at ${address} when the module was built`;
}
