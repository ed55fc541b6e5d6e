import type { Atom } from "../diff/atoms.ts";
import { isCorrelatable, isWritable } from "../diff/correlate.ts";
import type { ResolvedUnit } from "./plan.ts";

/** Something that no tool can decide, and that the author of a patch should look at. */
export interface Warning {
  readonly code: "ALWAYS_ON_STACK" | "LOCKS_CHANGED" | "NEW_STATE" | "MODULE_RELOAD";
  readonly function: string;
  readonly unit: string;
  readonly why: string;
  readonly hint: string;
}

/** Functions that some task always has on its stack, so that a change of them never takes effect for it. */
const neverLeft: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /^(__)?schedule(_preempt_disabled|_idle)?$/, reason: "every sleeping task is in it" },
  { pattern: /^(do_idle|cpu_startup_entry|cpuidle_\w+|rest_init)$/, reason: "the idle tasks never leave it" },
  {
    pattern: /^(kthread|kthreadd|worker_thread|smpboot_thread_fn|rescuer_thread|kthread_worker_fn)$/,
    reason: "kernel threads spend their life in it",
  },
  {
    pattern:
      /^(kswapd|kcompactd|khugepaged|ksm_scan_thread|oom_reaper|rcu_gp_kthread|rcu_tasks_kthread|kauditd_thread|watchdog)$/,
    reason: "it is the main loop of a kernel thread",
  },
];

/** Calls that a kernel thread's main loop makes and other functions do not. */
const threadLoopCalls = /^kthread_(freezable_)?should_(stop|park)$/;

/** Taking and releasing of locks, by the symbols that they become. */
const lockCalls =
  /(^|_)(mutex|spin|rwlock|read|write|rtnl|rcu_read|srcu_read|down|up|bh)_?(un)?(lock|trylock|read|write)|^(up|down)(_read|_write)?$|rtnl_(un)?lock/;

/**
 * Looks for what makes a live patch risky without making it impossible.
 * @param clearsRelocations true when the kernel clears livepatch relocations of a module that is removed (Linux 6.3 and later).
 */
export function findWarnings(units: readonly ResolvedUnit[], clearsRelocations: boolean): Warning[] {
  const warnings: Warning[] = [];
  const reloads = new Set<string>();
  for (const { plan, reached } of units) {
    const unit = plan.pair.source;
    for (const { atom, original, redirected } of plan.changes.functions.values()) {
      const stays = neverLeft.find(({ pattern }) => pattern.test(atom.name));
      const calls = callsOf(atom);
      if (redirected && (stays !== undefined || calls.some((name) => threadLoopCalls.test(name)))) {
        warnings.push({
          code: "ALWAYS_ON_STACK",
          function: atom.name,
          unit,
          why:
            stays === undefined
              ? "it asks whether its kernel thread should stop, so it probably is that thread's main loop"
              : stays.reason,
          hint: "a task inside of it keeps the old code, and the transition may never end: move the change into a function that it calls",
        });
      }
      const difference = original === undefined ? undefined : lockDifference(callsOf(original), calls);
      if (difference !== undefined) {
        warnings.push({
          code: "LOCKS_CHANGED",
          function: atom.name,
          unit,
          why: `it uses locks otherwise than before (${difference}), and during the transition old and new code run side by side`,
          hint: "check that a task in the old code and one in the new cannot deadlock or miss each other",
        });
      }
    }
    for (const atom of plan.selection.atoms) {
      if (!isWritable(atom) || atom.symbol === undefined || !isCorrelatable(atom)) continue;
      warnings.push({
        code: "NEW_STATE",
        function: atom.name,
        unit,
        why: "this new variable starts with its initial value, whatever happened before the patch was loaded, and goes with the patch module",
        hint: "make sure that objects from before the patch are handled; state that belongs to one object can be a shadow variable",
      });
    }
    const late = [...reached.values()].some((reach) => reach.by === "klp" && reach.symbol.object !== "vmlinux");
    if (late && !clearsRelocations && !reloads.has(plan.pair.object)) {
      reloads.add(plan.pair.object);
      warnings.push({
        code: "MODULE_RELOAD",
        function: plan.pair.object,
        unit,
        why: `kernels before 6.3 cannot write the relocations to ${plan.pair.object} twice`,
        hint: `while the patch module is loaded, removing ${plan.pair.object} and loading it again fails with error -8: unload the patch module first`,
      });
    }
  }
  return warnings;
}

/** Names of outside functions that a function calls. */
function callsOf(atom: Atom): string[] {
  return atom.references.flatMap(({ target }) => (target.kind === "external" ? [target.name] : []));
}

function lockDifference(before: readonly string[], after: readonly string[]): string | undefined {
  const count = (calls: readonly string[]): Map<string, number> => {
    const counts = new Map<string, number>();
    for (const name of calls) if (lockCalls.test(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
    return counts;
  };
  const [old, fresh] = [count(before), count(after)];
  const changed = [...new Set([...old.keys(), ...fresh.keys()])].filter((name) => old.get(name) !== fresh.get(name));
  if (changed.length === 0) return undefined;
  return changed.map((name) => `${name} ${old.get(name) ?? 0} → ${fresh.get(name) ?? 0} times`).join(", ");
}
