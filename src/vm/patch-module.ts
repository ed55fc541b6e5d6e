import { SymbolType } from "../elf/constants.ts";
import type { ElfReader } from "../elf/reader.ts";
import { functionsInForce } from "../patch-module/functions-in-force.ts";
import { staysInMemory } from "../patch-module/manifest-note.ts";
import { readPatchModule } from "../patch-module/patch-module.ts";
import { notAPatchModule, readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** What a patch module's .modinfo says. */
export interface PatchModuleInfo {
  /** Name as the kernel counts it. */
  readonly name: string;
  /** Release that it was made for, the first word of its vermagic; empty when it names none. */
  readonly release: string;
  /** Modules whose exported symbols it uses. */
  readonly depends: readonly string[];
  /** Kernel modules that it changes; none when it does not say. */
  readonly objects: readonly string[];
  /** Patch modules that it goes on top of, oldest first. */
  readonly after: readonly { readonly name: string; readonly sha256: string }[];
  /** What it puts in force; none for modules that others made. */
  readonly functions: readonly PatchedFunction[];
  /** True when it holds itself in memory until the next boot. */
  readonly staysInMemory: boolean;
  /** Of the file. */
  readonly sha256: string;
}

/** A function of the kernel, and the one that is in force in its place. */
export interface PatchedFunction {
  /** `vmlinux` or a module. */
  readonly object: string;
  readonly name: string;
  /** Name of the new function in the patch module. */
  readonly symbol: string;
}

/** Reads a patch module's own description. @throws KmendError `NOT_A_PATCH_MODULE`, `MANIFEST_DAMAGED`, `MODULE_ALTERED`. */
export async function inspectPatchModule(path: string): Promise<PatchModuleInfo> {
  const { name, release, depends, manifest, sha256, elf } = readPatchModule(path, await readPatchModuleFile(path));
  return {
    functions: patchedFunctions(elf),
    name,
    release,
    depends,
    objects: [...new Set((manifest?.functions ?? []).map(({ object }) => object))].filter((one) => one !== "vmlinux"),
    after: manifest?.after ?? [],
    staysInMemory: staysInMemory(manifest ?? undefined),
    sha256,
  };
}

function patchedFunctions(elf: ElfReader): PatchedFunction[] {
  return functionsInForce(elf).flatMap(({ object, name, section, offset }) => {
    const symbol = elf.symbols.find(
      (one) => one.section === section && one.value === offset && one.type === SymbolType.func && one.name !== "",
    );
    return symbol === undefined ? [] : [{ object, name, symbol: symbol.name }];
  });
}

/**
 * Requires that the patch modules which one goes on top of are among those that are in force before it.
 * @throws KmendError `EARLIER_MISSING` (exit 4), and the errors of reading them.
 */
export async function requireEarlier(
  { name, after }: PatchModuleInfo,
  earlier: readonly string[],
  release: string,
): Promise<void> {
  const given = await Promise.all(earlier.map((path) => inspectPatchModuleFor(path, release)));
  const missing = after.filter(({ sha256: digest }) => !given.some((one) => one.sha256 === digest));
  if (missing.length === 0) return;
  throw new KmendError({
    code: "EARLIER_MISSING",
    message: `${name} goes on top of ${missing.map((one) => one.name.replace(/^ksplice-/, "update ")).join(", ")}`,
    why: "without exactly these modules it would be tried on something else than it was built and proven for",
    hint: "give them first, the oldest first: kmend try FIRST SECOND",
    exitCode: ExitCode.refused,
  });
}

/** The release that a patch module was made for. @throws KmendError `NOT_A_PATCH_MODULE`. */
export async function releaseOfModule(path: string): Promise<string> {
  const { release } = await inspectPatchModule(path);
  if (release === "") throw notAPatchModule(path, "it does not say which kernel it was made for");
  return release;
}

/** {@link inspectPatchModule} for a given kernel. @throws KmendError `NOT_A_PATCH_MODULE` or `WRONG_KERNEL`. */
export async function inspectPatchModuleFor(path: string, release: string): Promise<PatchModuleInfo> {
  const info = await inspectPatchModule(path);
  if (info.release === release) return info;
  throw new KmendError({
    code: "WRONG_KERNEL",
    message: `${path} is made for kernel ${info.release || "(none named)"}, not ${release}`,
    hint: info.release === "" ? undefined : `kmend try --kernel ${info.release} ${path}`,
  });
}
