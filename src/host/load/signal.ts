import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { thisHost } from "../kernel/host.ts";
import { Steps } from "../kernel/steps.ts";
import { livepatchFolder, readLoadedPatches } from "../kernel/sysfs.ts";
import { type ChangeOptions, requireRoot } from "./load.ts";
import { inTransition } from "./transition.ts";

/** The stable `--json` of `kmend signal`. */
export interface SignalResult {
  readonly schema: 1;
  /** `automatic`: this kernel signals by itself and has no file to ask for it; `unchanged`: no transition is running. */
  readonly outcome: "signalled" | "automatic" | "unchanged" | "planned";
  /** The patch in transition; null when there is none. */
  readonly name: string | null;
  readonly dryRun: boolean;
  readonly steps: readonly string[];
}

/** Signals the tasks that hold up the running transition, where the kernel leaves that to user space. @throws KmendError `NOT_ROOT`. */
export async function signal(options: ChangeOptions): Promise<SignalResult> {
  const host = options.host ?? thisHost();
  const dryRun = options.dryRun === true;
  requireRoot(host, dryRun);
  const steps = new Steps(dryRun);
  const patch = (await readLoadedPatches(host.root)).find(inTransition);
  const result = { schema: 1, name: patch?.name ?? null, dryRun, steps: steps.texts } as const;
  if (patch === undefined) return { ...result, outcome: "unchanged" };
  const file = join(livepatchFolder, patch.name, "signal");
  if (!(await exists(join(host.root, file)))) return { ...result, outcome: "automatic" };
  await steps.take(`echo 1 >${file}`, () => host.writeState(file, "1"));
  return { ...result, outcome: dryRun ? "planned" : "signalled" };
}
