import type { BuildOptions, BuildResult } from "../../build/build-types.ts";
import { cveIdPattern } from "../../support/cve-id.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, OptionValues } from "../command.ts";
import { externalOf } from "./external-options.ts";
import { kernelOf } from "./kernel-options.ts";
import { usageError } from "./usage.ts";

/** Exit code of each outcome. */
export const buildExitCodes: Readonly<Record<BuildResult["outcome"], ExitCode>> = {
  built: ExitCode.done,
  unchanged: ExitCode.unchanged,
  refused: ExitCode.refused,
  failed: ExitCode.failure,
};

/** @throws KmendError `USAGE` (exit 2) */
function requireCveId(id: string): string {
  if (cveIdPattern.test(id)) return id;
  throw usageError("kmend build", `${JSON.stringify(id)} is not the number of a vulnerability (CVE-YEAR-NUMBER)`);
}

/** What the options ask of a build, but for the patches. */
export function requestOf(
  { progress, signal }: CommandContext,
  options: OptionValues,
  output: string | undefined,
): Omit<BuildOptions, "patches"> {
  return {
    ...kernelOf(options),
    ...externalOf(options),
    output,
    name: options.text("name"),
    cves: options.list("fixes").map(requireCveId),
    replace: options.flag("replace"),
    jobs: options.integer("jobs"),
    maxUnits: options.integer("maxUnits"),
    allowLayout: options.list("allowLayout"),
    adapt: options.flag("adapt"),
    removable: options.flag("removable"),
    saveRepro: options.text("saveRepro"),
    skipCompilerCheck: options.flag("skipGccCheck"),
    progress,
    signal,
  };
}
