import type { InstallResult } from "../../host/installed/install.ts";
import { exitCodeOf, type HostRefusal } from "../../host/kernel/host-refusals.ts";
import type { LoadResult } from "../../host/load/load.ts";
import type { UnloadResult } from "../../host/load/unload.ts";
import { ExitCode } from "../../support/errors.ts";

/** What a command ends with that changed the running kernel, or what is installed for one. */
export function hostExitCode(
  result: Pick<LoadResult | UnloadResult | InstallResult, "outcome"> & {
    readonly modules: readonly {
      readonly refusals: readonly HostRefusal[];
      readonly error?: { readonly code: string } | null;
    }[];
  },
): ExitCode {
  const { outcome, modules } = result;
  if (modules.some(({ error }) => error?.code === "LOAD_FORBIDDEN")) return ExitCode.policy;
  if (outcome === "refused") return exitCodeOf(modules.flatMap(({ refusals }) => refusals));
  return exitCodes[outcome];
}

const exitCodes = {
  done: ExitCode.done,
  unchanged: ExitCode.unchanged,
  stalled: ExitCode.stalled,
  failed: ExitCode.failure,
} as const;
