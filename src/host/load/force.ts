import { join } from "node:path";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { kernelModuleName } from "../installed/installed.ts";
import { thisHost } from "../kernel/host.ts";
import { kernelVersion } from "../kernel/kernel-facts.ts";
import { Steps } from "../kernel/steps.ts";
import { type LoadedPatch, livepatchFolder, readLoadedPatch } from "../kernel/sysfs.ts";
import { type ChangeOptions, requireRoot } from "./load.ts";
import type { LoadedModule } from "./loaded-module.ts";
import { inTransition, whoHoldsUp } from "./transition.ts";

/** What {@link force} is asked to do. */
export interface ForceOptions extends ChangeOptions {
  /** Name of a patch module, or a file of it. */
  readonly operand: string;
  /** The operator knows what it costs. */
  readonly confirmed: boolean;
}

/** The stable `--json` of `kmend force`. */
export interface ForceResult {
  readonly schema: 1;
  readonly outcome: "forced" | "planned";
  readonly name: string;
  readonly dryRun: boolean;
  readonly steps: readonly string[];
  /** Tasks that were declared to have switched. */
  readonly tasks: LoadedModule["stalledTasks"];
}

/** What a forced transition costs; `kmend force` says so before it asks for the confirmation. */
export function forceCost(patch: Pick<LoadedPatch, "name" | "state" | "replace">, release: string): string {
  const tasks =
    "the kernel declares all tasks switched, also those that are in the middle of a replaced function: these continue with the old code, and mixed data or a crash may follow";
  const stays = staysInMemory(patch, release);
  return stays === undefined ? tasks : `${tasks}; ${stays} can never be unloaded again until the next boot`;
}

/**
 * Modules whose code a task may be in the middle of for ever after, so that the kernel never lets go of them (klp_force_transition of
 * kernel/livepatch/transition.c): since 5.19 those that are on their way out, before that every one.
 */
function staysInMemory(
  { name, state, replace }: Pick<LoadedPatch, "name" | "state" | "replace">,
  release: string,
): string | undefined {
  const [major, minor] = kernelVersion(release);
  if (major < 5 || (major === 5 && minor < 19)) return `${name}, and all other patch modules that are loaded now,`;
  if (state === "disabling") return name;
  if (replace === false) return undefined;
  return replace === true ? "the modules that it replaces" : "modules that it replaces, if it does,";
}

/**
 * Ends a transition by declaring all tasks switched.
 * @throws KmendError `NOT_ROOT`, `NOT_IN_TRANSITION` (exit 3), `NOT_CONFIRMED` (exit 2) with the cost unless `confirmed`.
 */
export async function force(options: ForceOptions): Promise<ForceResult> {
  const host = options.host ?? thisHost();
  const dryRun = options.dryRun === true;
  requireRoot(host, dryRun);
  const name = kernelModuleName(options.operand);
  const patch = await readLoadedPatch(host.root, name);
  if (patch === undefined || !inTransition(patch)) {
    throw new KmendError({
      code: "NOT_IN_TRANSITION",
      message: patch === undefined ? `${name} is not loaded` : `${name} is ${patch.state}: there is nothing to force`,
      hint: "kmend status shows transitions",
      exitCode: ExitCode.unchanged,
    });
  }
  const tasks = whoHoldsUp(host, patch);
  if (!options.confirmed && !dryRun) {
    const who = tasks.map(({ tid, name: task }) => `${task} (${tid})`).join(", ");
    throw new KmendError({
      code: "NOT_CONFIRMED",
      message: `forcing the transition of ${name} needs a confirmation`,
      why: `${forceCost(patch, host.release)}\ntasks that have not switched: ${who || "none that can be seen"}`,
      hint: `kmend unload ${name} reverts the patch instead; if you have understood the cost: kmend force ${name} --yes-i-know`,
      exitCode: ExitCode.usage,
    });
  }
  const steps = new Steps(dryRun);
  const file = join(livepatchFolder, name, "force");
  await steps.take(`echo 1 >${file}`, () => host.writeState(file, "1"));
  return { schema: 1, outcome: dryRun ? "planned" : "forced", name, dryRun, steps: steps.texts, tasks };
}
