import { ElfFormatError } from "../elf/format-error.ts";
import { readModinfo } from "../elf/modinfo.ts";
import { notAPatchModule, readPatchModuleFile } from "../elf/patch-module-file.ts";
import { KmendError } from "../support/errors.ts";
import { moduleName } from "./module-file.ts";

/** What a patch module's .modinfo says. */
export interface PatchModuleInfo {
  /** Name as the kernel counts it. */
  readonly name: string;
  /** Release that it was made for, the first word of its vermagic; empty when it names none. */
  readonly release: string;
  /** Modules whose exported symbols it uses. */
  readonly depends: readonly string[];
}

/** Reads a patch module's own description. @throws KmendError `NOT_A_PATCH_MODULE`. */
export async function inspectPatchModule(path: string): Promise<PatchModuleInfo> {
  const info = modinfo(path, await readPatchModuleFile(path));
  if (!info.has("livepatch")) throw notAPatchModule(path, "its .modinfo does not mark it as a live patch");
  return {
    name: info.get("name")?.[0] ?? moduleName(path),
    release: info.get("vermagic")?.[0]?.split(" ")[0] ?? "",
    depends: (info.get("depends") ?? []).flatMap((list) => list.split(",").filter(Boolean)),
  };
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

function modinfo(path: string, content: Uint8Array): ReturnType<typeof readModinfo> {
  try {
    return readModinfo(content);
  } catch (error) {
    if (error instanceof ElfFormatError) throw notAPatchModule(path, "it is not a kernel module", error);
    throw error;
  }
}
