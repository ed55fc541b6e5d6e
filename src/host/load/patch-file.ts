import { readModinfo } from "../../patch-module/modinfo.ts";
import { type PatchModule, readPatchModule } from "../../patch-module/patch-module.ts";
import { readPatchModuleFile } from "../../patch-module/patch-module-file.ts";
import { systemErrorCode } from "../../support/errors.ts";

/** A patch module in a file. */
export interface PatchFile extends PatchModule {
  readonly path: string;
}

/**
 * Reads a patch module.
 * @throws KmendError `NOT_A_PATCH_MODULE` (exit 2) for a missing file, a damaged one, or a module that is no live patch; `MANIFEST_DAMAGED` and
 * `MODULE_ALTERED` (exit 4) for one that is not as it was built.
 */
export async function readPatchFile(path: string): Promise<PatchFile> {
  return { path, ...readPatchModule(path, await readPatchModuleFile(path)) };
}

/**
 * The name that a file of a patch module gives: of one that is to be unloaded, nothing else counts, and it need not be as it was built.
 * @throws KmendError `NOT_A_PATCH_MODULE` (exit 2)
 */
export async function readModuleName(path: string): Promise<string> {
  const content = await readPatchModuleFile(path);
  try {
    return readPatchModule(path, content).name;
  } catch (error) {
    const name = systemErrorCode(error) === "NOT_A_PATCH_MODULE" ? undefined : readModinfo(content).get("name")?.[0];
    if (name === undefined) throw error;
    return name;
  }
}

/** What a module does not tell of itself, as a sentence; none when it tells all. */
export function untold({ name, manifest, seal }: PatchModule): readonly string[] {
  if (manifest === null) return [`${name} was not made by kmend: nothing proves that it fits this very kernel build`];
  if (seal === "intact") return [];
  return [
    `${name} was made by kmend ${manifest.kmend}, which recorded no digest of the file: nothing shows whether it is as it was built`,
  ];
}
