import { sealRule } from "../diff/special-sections/special-sections.ts";
import type { TargetObject } from "../match/target-object.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import type { Reach } from "./resolve/resolve.ts";
import { addressOf } from "./resolve/target-places.ts";

/**
 * Refuses new code that takes the address of a function whose address nothing took when the kernel was linked: at boot, the kernel overwrites the landing
 * pad (ENDBR) of such functions (apply_seal_endbr() of arch/x86/kernel/alternative.c, CONFIG_X86_KERNEL_IBT), and an indirect call of one is an
 * exception on processors with indirect branch tracking.
 */
export async function refuseSealed(
  resolved: readonly ResolvedUnit[],
  open: (object: string) => Promise<TargetObject>,
): Promise<Refusal[]> {
  const refusals = new Map<string, Refusal>();
  const known = new Map<Reach, boolean>();
  for (const { plan, selection, reachOriginal, reachExternal } of resolved) {
    const { source, object } = plan.pair;
    for (const atom of selection.atoms) {
      const rewrites = (selection.rewrites.get(atom) ?? []).map(({ reference }) => reference);
      for (const reference of [...atom.references, ...rewrites]) {
        if (plan.patched.arch.isBranch(atom, reference)) continue;
        const route = selection.route(atom, reference);
        if (route.to !== "original" && route.to !== "external") continue;
        const name = route.to === "original" ? route.atom.name : route.name;
        const reach = route.to === "original" ? reachOriginal(route.atom) : reachExternal(route.name, route.weak);
        // A unit refers to the same few things from many places.
        const sealed = known.get(reach) ?? (await isSealed(name, reach, open));
        known.set(reach, sealed);
        if (!sealed) continue;
        const place = { unit: source, object, function: atom.name, detail: name };
        refusals.set(`${atom.name} ${name}`, refuse("ENTRY_SEALED", atom.name, place, { name }));
      }
    }
  }
  return [...refusals.values()];
}

async function isSealed(name: string, reach: Reach, open: (object: string) => Promise<TargetObject>): Promise<boolean> {
  if (reach.by === "nothing" || (reach.by === "klp" && reach.symbol.offset !== 0)) return false;
  const owner = reach.by === "klp" ? reach.symbol.object : reach.owner;
  if (owner === undefined) return false;
  const target = await open(owner);
  const symbols = target.symbolsNamed(name);
  const address = reach.by === "klp" ? addressOf(target, reach.symbol.name, reach.symbol.sympos) : symbols[0]?.address;
  if (address === undefined) return false;
  return (target.tableEntries?.(sealRule, undefined, address, address + 1) ?? []).length > 0;
}
