import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "../../patch-module/manifest.ts";
import { exists } from "../../support/cache.ts";
import { kernelModuleName } from "../installed/installed.ts";
import { openOperand } from "../load/load.ts";
import type { PatchFile } from "../load/patch-file.ts";
import { type PatchStatus, readHostStatus } from "../status/status.ts";
import { type Host, thisHost } from "./host.ts";
import { type IdleModule, readIdleModules, readLoadedManifest, readLoadedPatch } from "./sysfs.ts";

/** The stable `--json` of `kmend info`. */
export interface ModuleInfo {
  readonly schema: 1;
  readonly name: string;
  /** The file; null for a module that is loaded and has none that is known. */
  readonly file: {
    readonly path: string;
    readonly sha256: string;
    readonly vermagic: string;
    readonly signed: boolean;
    /** Whether it is known to be as it was built. */
    readonly seal: PatchFile["seal"];
    readonly depends: readonly string[];
  } | null;
  /** What the kernel shows of it; null when it is not loaded. */
  readonly loaded: PatchStatus | null;
  /** Its module that is in memory without its patch: replaced, or taken back; null when there is none. */
  readonly idle: IdleModule | null;
  /** False when another build of it is loaded than the file's; null when one of them is not there, or has no build id. */
  readonly sameBuild: boolean | null;
  readonly manifest: Manifest | null;
}

/**
 * All that is known about a patch module: of its file, and of the loaded one.
 * @param operand a file, or the name of a loaded or installed module.
 * @throws KmendError `NO_SUCH_MODULE`, `NOT_A_PATCH_MODULE` (exit 2)
 */
export async function readModuleInfo(operand: string, host: Host = thisHost()): Promise<ModuleInfo> {
  const { root } = host;
  const wanted = kernelModuleName(operand);
  const isFile = await exists(operand);
  const inMemory = isFile
    ? undefined
    : ((await readLoadedPatch(root, wanted)) ??
      ((await readIdleModules(root)).some((module) => module.name === wanted)
        ? await readLoadedManifest(root, wanted)
        : undefined));
  const file = await openOperand(host, operand).catch((error: unknown) => {
    // A loaded module need not be installed.
    if (inMemory !== undefined) return undefined;
    throw error;
  });
  const name = file?.name ?? wanted;
  const { loaded, idle } = await readHostStatus(host);
  const status = loaded.find((patch) => patch.name === name) ?? null;
  const left = idle.find((module) => module.name === name) ?? null;
  const note = await readFile(join(root, "/sys/module", name, "notes/.note.gnu.build-id")).catch(() => undefined);
  const same =
    (status === null && left === null) || note === undefined || file?.buildIdNote === undefined
      ? null
      : note.equals(file.buildIdNote);
  return {
    schema: 1,
    name,
    file:
      file === undefined
        ? null
        : {
            path: file.path,
            sha256: file.sha256,
            vermagic: file.vermagic,
            signed: file.signed,
            seal: file.seal,
            depends: file.depends,
          },
    loaded: status,
    idle: left,
    sameBuild: same,
    manifest: file?.manifest ?? inMemory?.manifest ?? null,
  };
}
