import { isFunction } from "../../diff/atoms.ts";
import { addressesTaken } from "../../diff/layout/shared-function.ts";
import type { LayoutFindings } from "../../diff/layout.ts";
import { coldParent } from "../../diff/names.ts";
import { formatAddress } from "../../elf/bytes.ts";
import { Binding } from "../../elf/constants.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import type { Refusal } from "../../refusals/refusals.ts";
import { counted } from "../../support/counted.ts";
import type { KernelTypes } from "../check-layouts.ts";
import { listOf } from "../warnings/warning.ts";
import type { ResolvedUnit, UnitPlan } from "./plan.ts";

/** What tells who calls a function whose prototype the patch changes. */
export interface CallerFacts {
  readonly plans: readonly UnitPlan[];
  readonly resolved: readonly ResolvedUnit[];
  readonly symvers: ExportedSymbols;
  /** Types of the kernel and its modules. */
  readonly types: Pick<KernelTypes, "of">;
  /** Patch modules in force have code of their own, which is not looked at. */
  readonly isStacked: boolean;
}

/**
 * Takes back refusals of changed prototypes where all callers are replaced together with the function: a task that runs one of the new functions gets all of
 * them. The object's own code tells who calls it; nobody may have its address. Of a function that keeps its refusal, a note says what was found.
 */
export async function acceptPrototypes(layouts: LayoutFindings, facts: CallerFacts): Promise<LayoutFindings> {
  const [notes, refusals]: [string[], Refusal[]] = [[], []];
  for (const refusal of layouts.refusals) {
    const verdict = isOfPrototype(refusal) ? await judge(refusal, facts) : undefined;
    if (verdict === undefined || "problem" in verdict) refusals.push(refusal);
    if (verdict !== undefined)
      notes.push(`${refusal.what}: ${"evidence" in verdict ? `accepted: ${verdict.evidence}` : verdict.problem}`);
  }
  return { ...layouts, refusals, notes: [...layouts.notes, ...notes] };
}

/** True for the refusal of a changed prototype. */
export function isOfPrototype(refusal: Refusal): boolean {
  return refusal.code === "LAYOUT_CHANGED" && refusal.function !== undefined;
}

async function judge(
  { function: name = "", where }: Refusal,
  facts: CallerFacts,
): Promise<{ readonly evidence: string } | { readonly problem: string }> {
  const { plans, resolved, symvers, isStacked } = facts;
  const holders = plans.filter(({ pair }) => pair.source === where);
  const definitions = holders.flatMap(({ original }) =>
    original.atoms.flatMap((atom) => (isFunction(atom) ? atom.symbols.filter((symbol) => symbol.name === name) : [])),
  );
  // Static functions are not asked about unless their unit takes their address; a global one of the same name is another one.
  if (definitions.some(({ binding }) => binding === Binding.local)) return { problem: `${where} takes its address` };
  const target = holders[0]?.target;
  const symbols = target?.symbolsNamed(name) ?? [];
  const [symbol] = symbols;
  if (target === undefined || symbol === undefined || symbols.length > 1 || definitions.length !== 1)
    return { problem: "it is not known which function of the kernel this is" };
  const names = target.symbolsAt(symbol.address).map((each) => each.name);
  if (names.some((each) => symvers.get(each) !== undefined))
    return { problem: "it is exported, so that any module may call it" };
  const types = await facts.types.of(target.name);
  const numbers = types === undefined ? [] : names.flatMap((each) => types.find(BtfKind.func, each));
  if (types !== undefined && target.namesTypes?.(new Set(numbers)) !== false)
    return { problem: "BPF programs may call it, or be attached to it" };
  if (isStacked) return { problem: "earlier updates are in force, and may call it" };
  const uses = target.usesOfFunction?.(symbol.address);
  if (uses === undefined) return { problem: `who calls it cannot be read from ${target.source}` };
  if (uses.others.length > 0) return { problem: `not only calls may lead to it: ${listOf(uses.others, 3)}` };
  const taken = plans.find(({ patched }) => addressesTaken(patched).has(name));
  if (taken !== undefined) return { problem: `with the patch, ${taken.pair.source} takes its address` };
  const redirections = resolved.flatMap((unit) => (unit.plan.target === target ? unit.redirections : []));
  const replaced = new Set(redirections.map(({ address }) => address));
  const callers = new Set<string>();
  for (const at of uses.calls) {
    const caller = target.functionAt?.(at);
    const known = caller === undefined ? [] : target.symbolsAt(caller);
    const section = target.sectionAt?.(at);
    const text = known[0]?.name ?? (section === undefined ? formatAddress(at) : `code in ${section}`);
    // Only its function jumps into a cold part.
    const owner = known.map((each) => coldParent(each.name)).find((parent) => parent !== undefined);
    const isReplaced =
      (caller !== undefined && replaced.has(caller)) ||
      (owner !== undefined &&
        target.symbolsNamed(owner).length === 1 &&
        redirections.some(({ oldName }) => oldName === owner));
    if (!isReplaced) return { problem: `${text} calls it, and the patch does not replace ${text}` };
    callers.add(owner ?? text);
  }
  const sorted = [...callers].sort();
  return {
    evidence:
      sorted.length === 0
        ? `nothing in ${target.name} calls it or has its address`
        : `the patch replaces ${sorted.length === 1 ? "its only caller" : `its ${counted(sorted.length, "caller")}`} in ${target.name} (${listOf(sorted, 8)}), and nothing has its address`,
  };
}
