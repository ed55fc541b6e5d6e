import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import {
  findInitramfsMaker,
  hasInitramfsPlan,
  makeInitramfs,
  writeInitramfsPlan,
} from "../installed/initramfs-plan.ts";
import type { Host } from "../kernel/host.ts";
import type { HostRefusalCode } from "../kernel/host-refusals.ts";
import type { Steps } from "../kernel/steps.ts";
import { detailsOf } from "../load/load.ts";
import { type BootService, readBootService, serviceText } from "./boot-service.ts";
import { readBootSwitch } from "./boot-switch.ts";

/** What loads installed modules when their kernel is booted. */
export interface BootPlan {
  readonly service: BootService;
  /** `none`: the initramfs of this kernel loads no patch modules; `failed`: it could not be made anew, as `error` tells. */
  readonly initramfs: "none" | "planned" | "updated" | "with its kernel" | "failed";
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly why: string;
    readonly hint: string;
  } | null;
  /** The same for a person. */
  readonly text: string;
}

/** Codes of what speaks against loading in an initramfs: nothing puts modules there, or nothing would confirm afterwards that they did no harm. */
export async function reasonsAgainstInitramfs({ root }: Pick<Host, "root">): Promise<readonly HostRefusalCode[]> {
  const codes: HostRefusalCode[] = [];
  if ((await findInitramfsMaker(root)) === undefined) codes.push("NO_INITRAMFS_HOOK");
  const { unit, state } = await readBootService(root);
  if (unit !== "kmend.service" || state !== "enabled") codes.push("NO_BOOT_SERVICE");
  return codes;
}

/**
 * Tells what loads the installed modules at boot, and has the initramfs follow a change of them.
 * @param begin the initramfs of this kernel is to load them from now on.
 * @param changed something was installed or uninstalled.
 */
export async function planBoot(
  host: Pick<Host, "root" | "release">,
  release: string,
  steps: Steps,
  begin: boolean,
  changed: boolean,
): Promise<BootPlan> {
  const { root } = host;
  const service = await readBootService(root);
  const texts = [serviceText(service, release)];
  const off = release === host.release ? await readBootSwitch(root) : undefined;
  if (off !== undefined) texts.push(`${off} is on the kernel's command line now: with it nothing is loaded at boot`);
  const early = begin || (await hasInitramfsPlan(root, release));
  if (!early || !changed)
    return { service, initramfs: early ? "planned" : "none", error: null, text: texts.join("; ") };
  await writeInitramfsPlan(root, release, steps);
  if (!(await exists(join(root, "/lib/modules", release)))) {
    texts.push("the initramfs loads it too, when it is made with its kernel");
    return { service, initramfs: "with its kernel", error: null, text: texts.join("; ") };
  }
  try {
    await makeInitramfs(root, release, steps);
  } catch (error) {
    if (!(error instanceof KmendError)) throw error;
    return { service, initramfs: "failed", error: detailsOf(error), text: texts.join("; ") };
  }
  texts.push(`its initramfs ${steps.dryRun ? "would load" : "loads"} what is installed for it first`);
  return { service, initramfs: steps.dryRun ? "planned" : "updated", error: null, text: texts.join("; ") };
}
