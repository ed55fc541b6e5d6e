import { hostExitCode } from "../../src/cli/report/host-exit-codes.ts";
import * as booted from "../../src/host/boot/boot.ts";
import * as installed from "../../src/host/installed/install.ts";
import * as loaded from "../../src/host/load/load.ts";
import * as unloaded from "../../src/host/load/unload.ts";
import type { ExitCode } from "../../src/support/errors.ts";

type Result = Parameters<typeof hostExitCode>[0];

/** A verb of the host, whose result has what the command ends with as well. */
function ending<Options, Kind extends Result>(
  verb: (options: Options) => Promise<Kind>,
): (options: Options) => Promise<Kind & { readonly exitCode: ExitCode }> {
  return async (options) => {
    const result = await verb(options);
    return { ...result, exitCode: hostExitCode(result) };
  };
}

export const boot = ending(booted.boot);
export const install = ending(installed.install);
export const uninstall = ending(installed.uninstall);
export const load = ending(loaded.load);
export const replace = ending(loaded.replace);
export const unload = ending(unloaded.unload);
