import type { ChangedFile } from "../../change/change-set.ts";
import { changedConstants } from "../../change/constants.ts";
import { touchesLocking } from "../../change/lock-lines.ts";
import type { KernelImage } from "../../kernel/image/kernel-image.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { alwaysOnStack } from "./always-on-stack.ts";
import { changedConstantUsers } from "./changed-constants.ts";
import { goneCallbacks } from "./gone-callbacks.ts";
import { functionsOf, inlinedCopies } from "./inlined.ts";
import { lockChanges } from "./locks.ts";
import { notraceCallers } from "./notrace-callers.ts";
import { newState, oldState } from "./state.ts";
import type { Warning } from "./warning.ts";

export type { Warning } from "./warning.ts";

/** What the warnings are about besides the units. */
export interface WarningFacts {
  /** Files of the change. */
  readonly files: readonly ChangedFile[];
  readonly image: KernelImage;
  /** True when the kernel clears livepatch relocations of a module that is removed (Linux 6.3 and later). */
  readonly clearsRelocations: boolean;
}

/** Looks for what makes a live patch risky without making it impossible. */
export function findWarnings(units: readonly ResolvedUnit[], facts: WarningFacts): Warning[] {
  const touched = functionsOf(units.length === 0 ? [] : facts.files);
  const rewritten = new Set(touched.map(({ name }) => name));
  const constants = units.length === 0 ? [] : changedConstants(facts.files);
  const isAboutLocks = units.length > 0 && touchesLocking(facts.files);
  return [
    ...units.flatMap((unit) => [
      ...alwaysOnStack(unit),
      ...lockChanges(unit, isAboutLocks),
      ...newState(unit),
      ...oldState(unit),
      ...goneCallbacks(unit),
      ...changedConstantUsers(unit, constants, rewritten),
      ...inlinedCopies(unit, touched),
    ]),
    ...notraceCallers(units, facts.image),
    ...(facts.clearsRelocations ? [] : moduleReloads(units)),
  ];
}

/** Warns once for each module whose own symbols the new code reaches, on kernels that cannot write such a relocation twice. */
function moduleReloads(units: readonly ResolvedUnit[]): Warning[] {
  const modules = new Map<string, string>();
  for (const { plan, reached } of units) {
    const late = [...reached.values()].some((reach) => reach.by === "klp" && reach.symbol.object !== "vmlinux");
    if (late && !modules.has(plan.pair.object)) modules.set(plan.pair.object, plan.pair.source);
  }
  return [...modules].map(([name, unit]) => ({
    code: "MODULE_RELOAD",
    function: name,
    unit,
    why: `kernels before 6.3 cannot write the relocations to ${name} twice`,
    hint: `while the patch module is loaded, removing ${name} and loading it again fails with error -8: unload the patch module first`,
  }));
}
