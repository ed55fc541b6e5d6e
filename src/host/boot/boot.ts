import { sweepTemporaries } from "../../support/cache.ts";
import { thisHost } from "../kernel/host.ts";
import { Steps } from "../kernel/steps.ts";
import { type ChangeOptions, type LoadResult, load, requireRoot } from "../load/load.ts";
import { bootGuard } from "./boot-guard.ts";
import { bootRecordsOf, type Confirmed, confirmBoot, probationSeconds } from "./boot-record.ts";
import { readBootSwitch } from "./boot-switch.ts";

/** The stable `--json` of `kmend boot`. */
export interface BootResult extends LoadResult {
  /** The word of the kernel's command line that switched it off; null when nothing did. */
  readonly switchedOff: string | null;
}

/** The stable `--json` of `kmend boot --confirm`. */
export interface ConfirmResult extends Confirmed {
  readonly schema: 1;
  readonly dryRun: boolean;
  readonly steps: readonly string[];
}

/**
 * Loads what is installed for the running kernel, as its service does at boot. Each attempt is recorded first; a module that an earlier boot did not survive
 * is left out, and so is one whose attempt cannot be recorded.
 * @throws KmendError as {@link load}
 */
export async function boot(options: ChangeOptions): Promise<BootResult> {
  const host = options.host ?? thisHost();
  const dryRun = options.dryRun === true;
  requireRoot(host, dryRun);
  const switchedOff = (await readBootSwitch(host.root)) ?? null;
  if (switchedOff !== null) {
    return { schema: 1, outcome: "done", dryRun, steps: [], modules: [], switchedOff };
  }
  if (!dryRun) await sweepTemporaries(bootRecordsOf(host.root, host.release));
  return { ...(await load({ ...options, host, all: true, guard: bootGuard(host) })), switchedOff };
}

/**
 * Ends the probation of what this boot has loaded, where its minute is over or the system is on its orderly way down; has itself called again where it is not.
 * @throws KmendError `NOT_ROOT`
 */
export async function confirm(options: Pick<ChangeOptions, "host" | "dryRun">): Promise<ConfirmResult> {
  const host = options.host ?? thisHost();
  const steps = new Steps(options.dryRun === true);
  const { dryRun, texts } = steps;
  requireRoot(host, dryRun);
  const result = await confirmBoot(host, await host.isShuttingDown(), steps);
  if (result.early.length > 0 && !dryRun) await host.confirmLater(probationSeconds + 1);
  return { schema: 1, ...result, dryRun, steps: texts };
}
