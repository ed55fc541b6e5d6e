import { findChanges } from "../../diff/changes.ts";
import { type Definition, type DefinitionChanges, type Move, withMoves } from "../../diff/definitions.ts";
import { exportedName } from "../../diff/exports.ts";
import { selectCarried } from "../../diff/select.ts";
import type { Table } from "../../diff/special-sections/tables.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { JoinedProof } from "../../match/joined-proof.ts";
import { linkerName } from "../../match/linker-names.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { UnitPlan } from "./plan.ts";

/** A definition that a unit no longer has with the patch, and no other touched unit has instead. */
export interface LostDefinition {
  readonly plan: UnitPlan;
  readonly definition: Definition;
  /** It is there still, for its own unit only. */
  readonly isStatic: boolean;
}

/** What the units of a patch define, held against what their originals and the kernel define. */
export interface DefinitionFindings {
  /** The plans, in which what has moved is the kernel's. */
  readonly plans: readonly UnitPlan[];
  readonly refusals: readonly Refusal[];
  readonly lost: readonly LostDefinition[];
}

/** A definition that moved, with the units. */
interface UnitMove extends Move {
  readonly from: UnitPlan;
  readonly to: UnitPlan;
}

/**
 * Finds out what a linker would make of the patched units together with the rest of the kernel, and refuses what is another definition in force, or none.
 * A definition that is in another unit with the patch is the kernel's: its function is redirected to the new body, its variable goes on being used.
 */
export function judgeDefinitions(plans: readonly UnitPlan[]): DefinitionFindings {
  const refusals: Refusal[] = [];
  const moves: UnitMove[] = [];
  const lost: LostDefinition[] = plans.flatMap((plan) =>
    plan.definitions.lost.map((definition) => ({
      plan,
      definition,
      isStatic: plan.correlation.patchedOf.has(definition.atom),
    })),
  );
  const gained = plans.flatMap((plan) => plan.definitions.gained.map((definition) => ({ plan, definition })));
  for (const { plan, definition } of gained) {
    const { name, atom } = definition;
    const isHere = (other: { readonly plan: UnitPlan; readonly definition: Definition }): boolean =>
      other.definition.name === name && other.plan.pair.object === plan.pair.object;
    const before = lost.filter(isHere);
    const [from] = before;
    const wasStatic = plan.correlation.originalOf.has(atom);
    const say = (problem: string, advice: string): void =>
      void refusals.push(refuse("DEFINITION_CHANGED", name, plan.pair.source, { problem, advice }));
    const twin = gained.find((other) => other.definition.name === name && other.plan !== plan);
    const elsewhere = lost.find((other) => other.definition.name === name && !isHere(other));
    if (twin !== undefined) {
      say(`the patch defines it in ${twin.plan.pair.source} too`, "keep one of the definitions");
    } else if (from !== undefined && before.length === 1 && !wasStatic && !from.isStatic) {
      if (isCode(from.definition) === isCode(definition))
        moves.push({ name, before: from.definition.atom, after: atom, from: from.plan, to: plan });
      else say(`it was something else in ${from.plan.pair.source}`, "give what is new a name of its own");
    } else if (elsewhere !== undefined) {
      const { pair } = elsewhere.plan;
      say(`${pair.source} has it in ${pair.object}, and users there keep that one`, "leave it where it is");
    } else {
      const problem = inForce(definition, plan);
      if (problem !== undefined) say(problem, "change the function that the kernel has, where it is");
    }
  }
  for (const plan of plans) {
    for (const definition of plan.definitions.rebound) {
      const problem = definition.isWeak ? undefined : inForce(definition, plan, "weak");
      if (problem !== undefined)
        refusals.push(
          refuse("DEFINITION_CHANGED", definition.name, plan.pair.source, {
            problem,
            advice: "change the function that the kernel has, where it is",
          }),
        );
    }
  }
  const isMoved = ({ definition }: LostDefinition): boolean => moves.some(({ before }) => before === definition.atom);
  return { plans: joined(plans, moves), refusals, lost: lost.filter((other) => !isMoved(other)) };
}

function isCode({ atom }: Definition): boolean {
  return atom.kind === "function" || atom.kind === "code";
}

/** Why a definition that a unit gets does not take the place of the one that the kernel has. @param own what the kernel may have of the unit itself. */
function inForce({ name, isWeak }: Definition, { target }: UnitPlan, own?: "weak"): string | undefined {
  const { visible, isOpen } = linkerName(name, target);
  const theirs = isOpen ? undefined : visible.find(({ binding }) => binding !== own);
  if (theirs === undefined) return undefined;
  if (theirs.from !== undefined) return `the patch module ${theirs.from} added one of this name`;
  if (theirs.binding === "weak")
    return `${target.name} has a weak one, which is in use; ${isWeak ? "which of two weak ones counts is up to the order of the link" : "its callers continue to call it"}`;
  return isWeak
    ? `${target.name} has a strong one, which stays in use`
    : `another unit of ${target.name} defines it, and the two could not be linked together`;
}

/** Plans of the units that get something, made again with the knowledge of where it was; and of those that had it, whose code means the same thing still. */
function joined(plans: readonly UnitPlan[], moves: readonly UnitMove[]): readonly UnitPlan[] {
  if (moves.length === 0) return plans;
  const shared = new Set([
    ...moves.map(({ name }) => name),
    ...plans.flatMap(({ definitions }) => [...definitions.kept]),
  ]);
  return plans.map((plan) => {
    const own = moves.filter(({ to }) => to === plan);
    const isInvolved = own.length > 0 || moves.some(({ from, to }) => from === plan || sameObject(to, plan));
    if (!isInvolved) return plan;
    const sources = [...new Set(own.map(({ from }) => from))];
    return withPlan(plan, sources, own, shared);
  });
}

function sameObject(a: UnitPlan, b: UnitPlan): boolean {
  return a.pair.object === b.pair.object;
}

function withPlan(
  plan: UnitPlan,
  sources: readonly UnitPlan[],
  moves: readonly Move[],
  shared: ReadonlySet<string>,
): UnitPlan {
  const { pair, patched } = plan;
  const there = sources.map(({ correlation }) => correlation);
  const correlation = withMoves(plan.correlation, there, moves, shared);
  const original = joinedOriginal(
    plan.original,
    sources.map((source) => source.original),
  );
  const changes = findChanges(original, patched, correlation, pair.source, pair.object);
  const selection = selectCarried(patched, correlation, changes, pair.source, pair.object);
  const proofs = sources.map(({ proof }) => proof);
  const proof = proofs.length === 0 ? plan.proof : new JoinedProof(plan.proof, proofs);
  return { ...plan, correlation, changes, selection, proof };
}

/** The original of a unit that answers for atoms of other units too. */
function joinedOriginal(own: UnitObject, others: readonly UnitObject[]): UnitObject {
  if (others.length === 0) return own;
  const tables = new Map<string, Table>(own.tables);
  for (const other of others) {
    for (const [name, table] of other.tables) {
      const known = tables.get(name);
      tables.set(name, known === undefined ? table : { ...known, entries: [...known.entries, ...table.entries] });
    }
  }
  const units = [own, ...others];
  return {
    ...own,
    tables,
    ftraceEntry: (atom) => units.find(({ atoms }) => atoms.includes(atom))?.ftraceEntry(atom),
  };
}

/** Why names are defined no longer, by `object name`. */
export function reasonsOfLoss(lost: readonly LostDefinition[]): Map<string, string> {
  return new Map(
    lost.map(({ plan: { pair }, definition: { name }, isStatic }) => [
      `${pair.object} ${name}`,
      isStatic ? `the patch makes it static in ${pair.source}` : `the patch removes it from ${pair.source}`,
    ]),
  );
}

/** Names that units of a patch export for the first time. */
export function newExportsOf(plans: readonly UnitPlan[]): Set<string> {
  return new Set(plans.flatMap(({ changes }) => changes.newExports.map(exportedName)));
}

/** True when a unit defines other things than before. */
export function definesOthers({ gained, lost, rebound }: DefinitionChanges): boolean {
  return gained.length + lost.length + rebound.length > 0;
}
