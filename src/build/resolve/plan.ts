import { readFile } from "node:fs/promises";
import type { Atom, TableEntry } from "../../diff/atoms.ts";
import { type FunctionChange, findChanges, type IsTextChanged, type UnitChanges } from "../../diff/changes.ts";
import { type Correlation, correlate, type SameLine } from "../../diff/correlate.ts";
import { compareDefinitions, type DefinitionChanges } from "../../diff/definitions.ts";
import { coldParent } from "../../diff/names.ts";
import { type CallChoice, type Route, type Selection, selectCarried } from "../../diff/select.ts";
import { classOf } from "../../diff/special-sections/section-classes.ts";
import type { EntrySizes } from "../../diff/special-sections/tables.ts";
import { readUnitObject, type UnitObject } from "../../diff/unit-object.ts";
import { formatAddress } from "../../elf/bytes.ts";
import type { CompilerComparison } from "../../kernel/compiler.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { matchUnit, type Proof } from "../../match/match-unit.ts";
import type { TargetObject } from "../../match/target-object.ts";
import { type Refusal, type RefusalPlace, refuse } from "../../refusals/refusals.ts";
import type { Redirection } from "../assemble/extract.ts";
import type { ProvenOriginal } from "../pairs/read-ahead.ts";
import type { UnitPair } from "../pairs/unit-pairs.ts";
import { refuseFreed } from "./freed-memory.ts";
import { decideModuleKeys } from "./late-keys.ts";
import { type Reach, resolveExternal, resolveOriginal, type Unresolved } from "./resolve.ts";
import { unprovenInlined } from "./unproven-inlined.ts";

/** What diff and match found for one unit. */
export interface UnitPlan {
  readonly pair: UnitPair;
  /** Nothing, for a unit that the patch adds. */
  readonly original: UnitObject;
  readonly patched: UnitObject;
  readonly correlation: Correlation;
  readonly definitions: DefinitionChanges;
  readonly changes: UnitChanges;
  readonly selection: Selection;
  readonly proof: Proof;
  readonly target: TargetObject;
}

/** An object that stands for the missing original of a unit that the patch adds: it has nothing in it. */
function emptyLike(patched: UnitObject): UnitObject {
  return { ...patched, atoms: [], atomsIn: () => [], atomAt: () => undefined, tables: new Map() };
}

/** What the diff of a unit needs to know besides its objects. */
export interface PlanFacts {
  /** Of the target's special tables. */
  readonly entrySizes: EntrySizes;
  /** For a line number in both objects; undefined when they tell nothing about lines. */
  readonly isSameLine?: SameLine | undefined;
  /** How redirected functions call each other. */
  readonly calls?: CallChoice | undefined;
  /** See {@link findChanges}. */
  readonly isTextChanged?: IsTextChanged | undefined;
}

/**
 * Diffs one unit; every change that cannot be made is among the refusals of the result.
 * @param proven its original; undefined for a unit that the patch adds.
 */
export async function planUnit(
  pair: UnitPair,
  target: TargetObject,
  proven: ProvenOriginal | undefined,
  facts: PlanFacts,
): Promise<UnitPlan> {
  const patched = await readUnitObject(await readFile(pair.patchedPath), facts.entrySizes);
  const original = proven?.unit ?? emptyLike(patched);
  const correlation = correlate(original, patched, facts.isSameLine);
  const changes = findChanges(original, patched, correlation, pair.source, pair.object, facts.isTextChanged);
  const selection = selectCarried(patched, correlation, changes, pair.source, pair.object, facts.calls);
  const proof = proven?.proof ?? (await matchUnit(original, target));
  const definitions = compareDefinitions(original, patched);
  return { pair, original, patched, correlation, definitions, changes, selection, proof, target };
}

/** Refuses callbacks of one kind for one object beyond the first: the kernel would call only one of them. */
export function refuseDoubleCallbacks(plans: readonly UnitPlan[]): Refusal[] {
  const first = new Map<string, string>();
  const refusals: Refusal[] = [];
  for (const { changes, pair } of plans) {
    for (const { kind, function: callback } of changes.callbacks) {
      const other = first.get(`${pair.object} ${kind}`);
      if (other === undefined) first.set(`${pair.object} ${kind}`, callback.name);
      else refusals.push(refuse("CALLBACK_TWICE", callback.name, placeIn(pair), { object: pair.object, kind, other }));
    }
  }
  return refusals;
}

/** Names of the new global symbols of a unit, for the other units of the patch. */
export function newGlobalsOf(plan: UnitPlan): string[] {
  return plan.selection.atoms.flatMap((atom) => {
    const isNew = plan.changes.functions.get(atom)?.change === "new" || atom.kind !== "function";
    return isNew ? atom.symbols.filter(({ binding }) => binding !== 0).map(({ name }) => name) : [];
  });
}

/** How other units of the object reach what a unit had before as a static and defines for all with the patch, by `object name`. */
export function keptDefinitions(plans: readonly UnitPlan[], facts: ResolveFacts): Map<string, () => Reach> {
  const found = new Map<string, () => Reach>();
  for (const { pair, definitions, correlation, proof, target } of plans) {
    for (const { name, atom } of definitions.gained) {
      const original = correlation.originalOf.get(atom);
      const reach = (): Reach => resolveOriginal(original as Atom, { target, proof, ...facts });
      if (original !== undefined) found.set(`${pair.object} ${name}`, reach);
    }
  }
  return found;
}

/** Facts for resolving that are common to all units. */
export interface ResolveFacts {
  readonly symvers: ExportedSymbols;
  readonly newGlobals: ReadonlyMap<string, string>;
  /** Those that the patch exports. */
  readonly newExports?: ReadonlySet<string> | undefined;
  /** See {@link keptDefinitions}. */
  readonly defined?: ReadonlyMap<string, () => Reach> | undefined;
  /** Why names are defined no longer, by `object name`. */
  readonly lost?: ReadonlyMap<string, string> | undefined;
  readonly settled: ReadonlyMap<string, number>;
  readonly compiler: CompilerComparison;
  /** True when it is not known which symbols the kernel has: outside symbols are then left to the module loader. */
  readonly externalsUnknown?: boolean | undefined;
}

/** A unit with all names of the running kernel found and proven. */
export interface ResolvedUnit {
  readonly plan: UnitPlan;
  /** What is carried: the plan's selection without table entries that cannot be. */
  readonly selection: Selection;
  readonly redirections: readonly Redirection[];
  readonly reachOriginal: (atom: Atom) => Reach;
  readonly reachExternal: (name: string, weak: boolean) => Reach;
  /** Everything outside that the carried code reaches, by name. */
  readonly reached: ReadonlyMap<string, Reach>;
  readonly refusals: readonly Refusal[];
  /** Names that only a look into the unit that defines them can settle. */
  readonly ambiguous: readonly Unresolved[];
  readonly notes: readonly string[];
}

/** Finds address, name and position of all that a unit redirects or reaches; what cannot be proven is refused. */
export function resolveUnit(plan: UnitPlan, facts: ResolveFacts): ResolvedUnit {
  const { proof, target, selection, changes, pair } = plan;
  const context = { target, proof, ...facts };
  const refusals: Refusal[] = [];
  const redirections: Redirection[] = [];
  for (const change of changes.functions.values()) {
    if (change.original === undefined) continue;
    const problem = proveFunction(change, change.original, plan, facts.compiler);
    if (problem !== undefined) refusals.push(problem);
    else if (change.redirected) {
      const address = proof.addressOf(change.original) as number;
      const here = target.symbolsAt(address);
      const symbol = here.find(({ name }) => name === change.original?.name) ?? here[0];
      if (symbol?.from !== undefined) {
        refusals.push(refuse("ADDED_BY_EARLIER", symbol.name, placeIn(pair), { module: symbol.from }));
      } else if (symbol !== undefined) {
        const { original } = change;
        const size = original.end - (original.symbol?.value ?? original.start);
        redirections.push({ atom: change.atom, oldName: symbol.name, sympos: symbol.sympos, address, size });
      }
    }
  }
  const originals = new Map<Atom, Reach>();
  const externals = new Map<string, Reach>();
  const reached = new Map<string, Reach>();
  const reachOriginal = (atom: Atom): Reach => remember(originals, atom, () => resolveOriginal(atom, context));
  const reachExternal = (name: string, weak: boolean): Reach =>
    remember(externals, name, () =>
      plan.patched.arch.loaderSymbols.has(name)
        ? { by: "loader", name, owner: undefined, proof: "made for each module by its loader" }
        : resolveExternal(name, weak, context),
    );
  const reachOf = (route: Route): Reach | undefined => {
    if (route.to === "original") return reachOriginal(route.atom);
    return route.to === "external" ? reachExternal(route.name, route.weak) : undefined;
  };
  const keys = decideModuleKeys(selection, plan.patched, pair.object, pair.source, reachOf);
  refusals.push(...keys.refusals);
  const { atoms, entries } = keys.selection;
  const users: readonly (Atom | TableEntry)[] = [...atoms, ...[...entries.values()].flat()];
  for (const from of users) {
    const rewrites = "name" in from ? (keys.selection.rewrites.get(from) ?? []) : [];
    for (const reference of [...from.references, ...rewrites.map((rewrite) => rewrite.reference)]) {
      const route = selection.route(from, reference);
      const reach = reachOf(route);
      if (route.to === "original" && reach !== undefined) reached.set(route.atom.name, reach);
      else if (route.to === "external" && reach !== undefined) reached.set(route.name, reach);
      if (reach === undefined) continue;
      const user = "name" in from ? from : from.place?.atom;
      const before = user === undefined ? undefined : changes.functions.get(user)?.original;
      refusals.push(...refuseFreed({ user: user?.name ?? pair.source, original: before, reach }, target, pair.source));
    }
  }
  refusals.push(...unprovenReached(users, selection, plan, facts.compiler, refusals));
  const differing = differingFunctions(plan);
  if (differing.length > 0) refusals.push(...refuseInlined(atoms, differing, plan, facts.compiler));
  const ambiguous: Unresolved[] = [];
  for (const reach of reached.values()) {
    if (reach.by !== "nothing") continue;
    if (reach.problem.kind === "ambiguous") ambiguous.push(reach.problem);
    refusals.push(refuseUnresolved(reach.problem, placeIn(pair), facts));
  }
  return {
    plan,
    selection: keys.selection,
    redirections,
    reachOriginal,
    reachExternal,
    reached,
    refusals,
    ambiguous,
    notes: [...keys.notes, ...notesOfOthers(plan, differing, refusals)],
  };
}

/**
 * Refuses what carried code reaches of the running kernel and what is not there as it was compiled here: the new code relies on it. So does what the
 * originals of changed functions reach, since the compiler may have put that into the new code. Functions of other units are not looked at, nor is what a
 * reached function calls.
 */
function unprovenReached(
  users: readonly (Atom | TableEntry)[],
  selection: Selection,
  plan: UnitPlan,
  compiler: CompilerComparison,
  earlier: readonly Refusal[],
): Refusal[] {
  const { proof, target, pair, changes } = plan;
  const refusals: Refusal[] = [];
  const seen = new Set<Atom>();
  const look = (user: string, reached: Atom): void => {
    if (seen.has(reached)) return;
    seen.add(reached);
    const problem = proof.reachProblem(reached);
    if (problem === undefined || earlier.some(({ what }) => what === reached.name)) return;
    const place = `${reached.name}+0x${problem.offset.toString(16)}`;
    const isCall = reached.kind === "function";
    refusals.push(
      refuse(
        "UNPROVEN_FUNCTION",
        user,
        { ...placeIn(pair), function: user, detail: place },
        {
          difference: `${user} ${isCall ? "reaches" : "uses"} ${reached.name}, and ${reached.name} compiled here is not the kernel's: ${problem.text} (in ${target.source})`,
          cause: likelyCause(reached, plan, compiler),
        },
      ),
    );
  };
  for (const from of users) {
    const user = "name" in from ? from.name : (from.place?.atom.name ?? from.table);
    for (const reference of from.references) {
      const route = selection.route(from, reference);
      if (route.to === "original") look(user, route.atom);
    }
  }
  for (const { original } of changes.functions.values()) {
    for (const { target: reached } of original?.references ?? [])
      if (reached.kind === "atom" && reached.atom.kind === "function") look(original?.name ?? "", reached.atom);
  }
  return refusals;
}

/** How many functions a note names. */
const namedLimit = 5;

/** Functions of the original unit that the kernel has otherwise. */
function differingFunctions({ proof, original }: UnitPlan): readonly Atom[] {
  return original.atoms.filter(
    (atom) => atom.kind === "function" && classOf(atom.section) === "content" && proof.reachProblem(atom) !== undefined,
  );
}

/** Refuses code that carried functions have by inlining and that no copy in the kernel proves. */
function refuseInlined(
  atoms: readonly Atom[],
  differing: readonly Atom[],
  plan: UnitPlan,
  compiler: CompilerComparison,
): Refusal[] {
  const { changes, correlation, pair, proof, target } = plan;
  const originalOf = (atom: Atom): Atom | undefined =>
    changes.functions.get(atom)?.original ?? correlation.originalOf.get(atom);
  const carried = atoms.filter(({ kind }) => kind === "function").map((atom) => [atom, originalOf(atom)] as const);
  return unprovenInlined(plan, carried, differing).map(({ user, inlined, witness }) =>
    refuse(
      "UNPROVEN_FUNCTION",
      user,
      { ...placeIn(pair), function: user, detail: inlined },
      {
        difference: `the compiler has put ${inlined} into it, and ${witness.name} compiled here is not the kernel's: ${proof.reachProblem(witness)?.text} (in ${target.source})`,
        cause: likelyCause(witness, plan, compiler),
      },
    ),
  );
}

/** Tells of functions of the unit that are not the kernel's and that this patch neither changes nor reaches. */
function notesOfOthers({ pair, target }: UnitPlan, differing: readonly Atom[], refusals: readonly Refusal[]): string[] {
  if (differing.length === 0 || refusals.some(({ code }) => code === "UNPROVEN_FUNCTION")) return [];
  const names = differing.slice(0, namedLimit).map(({ name }) => name);
  const more = differing.length > names.length ? ` and ${differing.length - names.length} more` : "";
  const what = target.name === "vmlinux" ? "the kernel" : target.source;
  return [
    `${pair.source}: ${names.join(", ")}${more} compiled here ${differing.length === 1 ? "is" : "are"} not what ${what} has; the patch does not reach ${differing.length === 1 ? "it" : "them"}`,
  ];
}

function remember<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function proveFunction(
  change: FunctionChange,
  original: Atom,
  plan: UnitPlan,
  compiler: CompilerComparison,
): Refusal | undefined {
  const { proof, pair, target } = plan;
  if (proof.isMatched(original)) return undefined;
  const mismatch = proof.mismatchOf(original);
  const name = coldParent(change.atom.name) ?? original.name;
  const detail = `${original.name}+0x${(mismatch?.offset ?? 0).toString(16)}`;
  const difference = `${mismatch?.text ?? "it was not found"} (in ${target.source})`;
  return refuse(
    "UNPROVEN_FUNCTION",
    name,
    { ...placeIn(pair), function: name, detail },
    {
      difference,
      cause: likelyCause(original, plan, compiler),
    },
  );
}

function likelyCause(original: Atom, { proof, target }: UnitPlan, compiler: CompilerComparison): string {
  const what = target.name === "vmlinux" ? "the kernel" : target.source;
  if (!compiler.same)
    return `the compiler differs: ${what} was built with ${compiler.kernel}, here is ${compiler.here}; use the one that built it`;
  if (original.symbol?.binding === 2)
    return "this is a weak function, and the kernel has another unit's version of it: patch that one";
  if (proof.matchedCount * 2 < proof.functionCount) {
    return `only ${proof.matchedCount} of the unit's ${proof.functionCount} functions match: source version or configuration are not those of ${what}`;
  }
  return `${proof.matchedCount} of the unit's ${proof.functionCount} functions match, this one does not: ${target.name === "vmlinux" ? "the image was modified or this file is not the kernel's" : `${what} was modified or built from another source`}`;
}

/** The unit and its object, for a refusal. */
function placeIn({ source, object }: UnitPair): RefusalPlace {
  return { unit: source, object };
}

function refuseUnresolved(problem: Unresolved, where: RefusalPlace, facts: ResolveFacts): Refusal {
  const { name, object, candidates, kind } = problem;
  if (kind === "missing") {
    const home = facts.symvers.get(name)?.owner;
    const advice =
      home === undefined || home === object
        ? "check that the kernel is configured to have it and that the patch's Makefile builds the file that defines it, or add it in the patch"
        : `it belongs to ${home}; reach it from code of that object`;
    return refuse("MISSING_SYMBOL", name, where, { object, reason: problem.reason ?? `${object} has none`, advice });
  }
  if (kind === "added") return refuse("ADDED_BY_EARLIER", name, where, { module: candidates[0]?.from ?? "" });
  if (kind === "ambiguous" && candidates.length > 1) {
    return refuse("AMBIGUOUS_SYMBOL", name, where, {
      count: `${candidates.length}`,
      candidates: candidates
        .map(({ name: known, address, sympos }) => `${known},${sympos} at ${formatAddress(address)}`)
        .join("; "),
      advice: "call it from a function that already uses it, or reach it through something with a name of its own",
    });
  }
  return refuse("UNPROVEN_SYMBOL", name, where, {
    problem:
      kind === "ambiguous"
        ? `nothing shows whether the symbol ${name} of ${object} is the one that is meant, or another unit's static`
        : `the code of ${object} shows an address for ${name} where the kernel has no symbol of this name`,
    advice: "leave out the use of it that the patch adds",
  });
}
