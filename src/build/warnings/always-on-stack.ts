import type { Atom } from "../../diff/atoms.ts";
import { coldParent } from "../../diff/names.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { callsOf, type Warning } from "./warning.ts";

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

/** Functions whose first argument is the main function of a new kernel thread. */
const threadStarters = /^kthread_create_on_(node|cpu)$/;

/** Bytes of code before the call in which its first argument is loaded. */
const argumentReach = 96;

/** Warns of redirected functions that some task may never leave: it goes on running the old code, and the transition waits for it. */
export function alwaysOnStack({ plan }: ResolvedUnit): Warning[] {
  const warnings: Warning[] = [];
  const threads = threadFunctions(plan.patched);
  for (const { atom, redirected } of plan.changes.functions.values()) {
    if (!redirected) continue;
    const starter = threads.get(atom);
    const reason =
      neverLeft.find(({ pattern }) => pattern.test(atom.name))?.reason ??
      (starter === undefined ? undefined : `${starter} starts a kernel thread with it`) ??
      (callsOf(atom).some((name) => threadLoopCalls.test(name))
        ? "it asks whether its kernel thread should stop, so it probably is that thread's main loop"
        : undefined);
    if (reason === undefined) continue;
    warnings.push({
      code: "ALWAYS_ON_STACK",
      function: atom.name,
      unit: plan.pair.source,
      why: reason,
      hint: "a task inside of it keeps the old code, and the transition may never end: move the change into a function that it calls",
    });
  }
  return warnings;
}

/** Main functions of kernel threads, and the function of the unit that starts the thread. */
function threadFunctions(unit: UnitObject): Map<Atom, string> {
  const found = new Map<Atom, string>();
  for (const user of unit.atoms) {
    if (user.kind !== "function") continue;
    for (const { target, offset } of user.references) {
      if (target.kind !== "external" || !threadStarters.test(target.name)) continue;
      const argument = user.references.findLast(
        (reference) =>
          reference.offset < offset &&
          reference.offset > offset - argumentReach &&
          reference.target.kind === "atom" &&
          reference.target.atom.kind === "function" &&
          reference.target.atom !== user &&
          !unit.arch.isBranch(user, reference),
      );
      if (argument?.target.kind === "atom") found.set(argument.target.atom, coldParent(user.name) ?? user.name);
    }
  }
  return found;
}
