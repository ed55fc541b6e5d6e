import type { Atom } from "../diff/atoms.ts";
import type { TargetObject } from "../match/target-object.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import { ownerOf, type Reach } from "./resolve/resolve.ts";

/**
 * Refuses instructions of carried code that take a per-CPU variable of the kernel for an ordinary one, or the other way round: such a declaration compiles,
 * and what the instruction reads or writes is memory of something else.
 */
export async function refusePerCpuMisuse(
  resolved: readonly ResolvedUnit[],
  open: (object: string) => Promise<TargetObject>,
): Promise<Refusal[]> {
  const refusals: Refusal[] = [];
  for (const unit of resolved) {
    const { plan, selection, reached } = unit;
    const { source, object } = plan.pair;
    const homes = new Map<string, boolean>();
    for (const [name, reach] of reached) {
      const isPerCpu = await isPerCpuThere(name, reach, open);
      if (isPerCpu !== undefined) homes.set(name, isPerCpu);
    }
    for (const atom of selection.atoms) {
      for (const { name, isPerCpuHere } of directUses(atom, plan.patched.arch.dataFlow?.read)) {
        const isPerCpu = homes.get(name);
        if (isPerCpu === undefined || isPerCpu === isPerCpuHere) continue;
        const problem = isPerCpu
          ? `${atom.name} reads or writes ${name} at its address, and ${name} is a per-CPU variable: it has one address on each processor`
          : `${atom.name} takes ${name} for a per-CPU variable, and the kernel has one for all processors`;
        const place = { unit: source, object, function: atom.name };
        refusals.push(refuse("DECLARED_DIFFERENTLY", name, place, { problem, name }));
      }
    }
  }
  return refusals.filter(({ what }, index) => refusals.findIndex((other) => other.what === what) === index);
}

/** Undefined for what is not in the kernel, or not known to be in one place. */
async function isPerCpuThere(
  name: string,
  reach: Reach,
  open: (object: string) => Promise<TargetObject>,
): Promise<boolean | undefined> {
  const owner = ownerOf(reach);
  if (owner === undefined) return undefined;
  const target = await open(owner);
  const found = target.symbolsNamed(reach.by === "klp" ? reach.symbol.name : name);
  const homes = new Set(found.map(({ address }) => target.sectionAt?.(address)?.includes("percpu")));
  return homes.size === 1 ? [...homes][0] : undefined;
}

interface DirectUse {
  readonly name: string;
  readonly isPerCpuHere: boolean;
}

/** Memory operands that are a symbol and nothing else: with a register added, the register may hold the offset of a processor. */
function directUses(
  atom: Atom,
  read: ((code: Uint8Array, start: number) => readonly FlowLike[]) | undefined,
): DirectUse[] {
  if (atom.kind !== "function" || read === undefined) return [];
  const named = new Map<number, string>();
  for (const { offset, target } of atom.references) {
    if (target.kind === "external") named.set(offset, target.name);
    else if (target.kind === "atom" && target.atom.symbol !== undefined) named.set(offset, target.atom.name);
  }
  return read(atom.bytes, 0).flatMap(({ memory }) => {
    const name = memory?.place === undefined ? undefined : named.get(memory.place);
    if (memory === undefined || name === undefined || memory.width === 0) return [];
    const isPlain = memory.base === undefined && !memory.hasIndex;
    return memory.isPerCpu || isPlain ? [{ name, isPerCpuHere: memory.isPerCpu }] : [];
  });
}

type FlowLike = ReturnType<NonNullable<ResolvedUnit["plan"]["patched"]["arch"]["dataFlow"]>["read"]>[number];
