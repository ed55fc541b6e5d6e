import type { BuildFacts } from "../build/build-facts.ts";
import type { ResolvedUnit } from "../build/resolve/plan.ts";
import { ownerOf } from "../build/resolve/resolve.ts";
import { coldParent } from "../diff/names.ts";
import { classOf } from "../diff/special-sections/section-classes.ts";
import { isOfCompiler } from "./compiler-calls.ts";
import { imageCallers } from "./image-callers.ts";
import type { Fate, ReachEdge, ReachGraph, ReachNode, SourceChange } from "./report-types.ts";
import { namedTarget } from "./state-changes.ts";

/** Callers, and things that are reached, that one changed function shows; more cannot be read. */
const mostNeighbours = 14;
/** Of all functions together. */
const mostNodes = 110;

/** Object of what the module itself brings. */
export const thisModule = "this module";

/** Who calls the changed functions, where their source was inlined, and what the new code reaches. */
export async function reachGraphOf(
  { session, examination }: BuildFacts,
  files: readonly SourceChange[],
): Promise<ReachGraph> {
  const graph = new GraphDraft();
  for (const unit of examination.resolved) addChanged(graph, unit);
  const fates = files.flatMap(({ hunks }) => hunks.flatMap((hunk) => hunk.fates));
  for (const fate of fates) if (fate.kind === "inlined") addInlined(graph, fate);
  for (const unit of examination.resolved) addCallers(graph, unit);
  const places = new Map<number, Place>();
  for (const { plan, redirections } of examination.resolved) {
    if (plan.target.name !== "vmlinux") continue;
    for (const { address, atom } of redirections) places.set(address, placeOf(plan, atom.name));
  }
  for (const { name, to, mark } of await imageCallers(session.kernel.image, new Set(places.keys()))) {
    const callee = places.get(to);
    if (callee !== undefined) graph.caller({ name, object: "vmlinux", mark }, callee);
  }
  for (const unit of examination.resolved) addReached(graph, unit);
  return graph.finished();
}

function addChanged(graph: GraphDraft, { plan, selection }: ResolvedUnit): void {
  for (const atom of selection.atoms) {
    if (atom.kind !== "function" || coldParent(atom.name) !== undefined) continue;
    const change = plan.changes.functions.get(atom);
    graph.changed(placeOf(plan, atom.name), change?.original === undefined ? "new" : "changed");
  }
}

function addInlined(graph: GraphDraft, { source, functions }: Fate): void {
  for (const name of source)
    for (const { name: holder, object, unit } of functions)
      graph.inlined(name, { name: coldParent(holder) ?? holder, object, unit });
}

/** Functions of the same unit with calls of the changed ones. */
function addCallers(graph: GraphDraft, { plan }: ResolvedUnit): void {
  const changed = new Map([...plan.changes.functions.values()].map(({ original, atom }) => [original, atom]));
  for (const atom of plan.original.atoms) {
    if (atom.kind !== "function" || changed.has(atom)) continue;
    for (const reference of atom.references) {
      const { target } = reference;
      const callee = target.kind === "atom" ? changed.get(target.atom) : undefined;
      if (callee === undefined || !plan.original.arch.isBranch(atom, reference)) continue;
      const isInit = classOf(atom.section) === "init";
      const caller = {
        name: coldParent(atom.name) ?? atom.name,
        object: plan.pair.object,
        mark: isInit ? "init" : null,
      } as const;
      graph.caller(caller, placeOf(plan, coldParent(callee.name) ?? callee.name));
    }
  }
}

function addReached(graph: GraphDraft, { plan, selection, reached }: ResolvedUnit): void {
  for (const atom of selection.atoms) {
    if (atom.kind !== "function") continue;
    const from = coldParent(atom.name) ?? atom.name;
    for (const reference of atom.references) {
      const target = namedTarget(reference);
      if (target === undefined || isOfCompiler(target.name) || target.name === atom.name) continue;
      const route = selection.route(atom, reference);
      if (route.to === "absolute" || route.to === "entry") continue;
      const name = route.to === "inside" ? target.name : route.to === "original" ? route.atom.name : route.name;
      const reach = reached.get(name);
      const owner = route.to === "inside" || reach === undefined ? undefined : ownerOf(reach);
      const object = owner ?? thisModule;
      // A function of this unit is never another unit's of the same name.
      const unit = route.to === "inside" || route.to === "original" ? plan.pair.source : undefined;
      const isCall = plan.patched.arch.isBranch(atom, reference);
      graph.reached(
        placeOf(plan, from),
        { name: coldParent(name) ?? name, object, unit },
        isCall ? "calls" : "reaches",
      );
    }
  }
}

/** A function, or a variable, as far as it is known which one of its name is meant. */
interface Place extends Pick<ReachNode, "name" | "object"> {
  readonly unit?: string | undefined;
}

function placeOf({ pair }: ResolvedUnit["plan"], name: string): Place {
  return { name, object: pair.object, unit: pair.source };
}

/** Collects nodes and edges, each once. */
class GraphDraft {
  readonly #nodes = new Map<string, ReachNode>();
  readonly #edges = new Map<string, ReachEdge>();
  readonly #counts = new Map<string, number>();
  readonly #leftOut = new Set<string>();
  /** Changed and new functions by object and name; static ones of several units may share these. */
  readonly #changed = new Map<string, Map<string, string>>();

  /** A function that the module replaces or brings: one of its name for each unit. */
  changed({ name, object, unit = "" }: Place, kind: "changed" | "new"): void {
    const key = `${object}:${name}`;
    const units = this.#changed.get(key) ?? new Map<string, string>();
    if (units.has(unit)) return;
    const id = units.size === 0 ? key : `${key}:${unit}`;
    this.#changed.set(key, units.set(unit, this.#node(id, { name, object, kind, mark: null })));
  }

  caller({ name, object, mark }: Place & Pick<ReachNode, "mark">, callee: Place): void {
    const to = this.#changedAt(callee);
    if (to === undefined || name === callee.name) return;
    const id = this.#idOf({ name, object });
    if (!this.#nodes.has(id) && !this.#mayAdd(`${to} <`, id)) return;
    this.#edge(this.#node(id, { name, object, kind: "caller", mark }), to, "calls");
  }

  inlined(name: string, holder: Place): void {
    const to = this.#changedAt(holder);
    if (to === undefined) return;
    this.#edge(this.#node(`source:${name}`, { name, object: "source", kind: "inlined", mark: null }), to, "inlined");
  }

  reached(from: Place, { name, object, unit }: Place, kind: ReachEdge["kind"]): void {
    const source = this.#changedAt(from);
    if (source === undefined || name === from.name) return;
    const own = this.#changedAt({ name, object: object === thisModule ? from.object : object, unit });
    if (own !== undefined) {
      this.#edge(source, own, "calls");
      return;
    }
    const id = this.#idOf({ name, object });
    if (!this.#nodes.has(id) && !this.#mayAdd(`${source} >`, id)) return;
    this.#edge(source, this.#node(id, { name, object, kind: "reached", mark: null }), kind);
  }

  finished(): ReachGraph {
    return { nodes: [...this.#nodes.values()], edges: [...this.#edges.values()], leftOut: this.#leftOut.size };
  }

  #node(id: string, what: Omit<ReachNode, "id">): string {
    const known = this.#nodes.get(id);
    if (known === undefined) this.#nodes.set(id, { id, ...what });
    else if (known.mark === null && what.mark !== null) this.#nodes.set(id, { ...known, mark: what.mark });
    return id;
  }

  /** The node of something whose unit is not known. Where several changed functions have the name, it is none of them. */
  #idOf({ name, object }: Place): string {
    const key = `${object}:${name}`;
    return (this.#changed.get(key)?.size ?? 0) > 1 ? `${key}:` : key;
  }

  /** The changed function that is meant: where the unit is not known, only if a single one has the name. */
  #changedAt({ name, object, unit }: Place): string | undefined {
    const units = this.#changed.get(`${object}:${name}`);
    if (unit !== undefined) return units?.get(unit);
    return units?.size === 1 ? [...units.values()][0] : undefined;
  }

  #mayAdd(side: string, id: string): boolean {
    const count = (this.#counts.get(side) ?? 0) + 1;
    if (count > mostNeighbours || this.#nodes.size >= mostNodes) {
      this.#leftOut.add(id);
      return false;
    }
    this.#counts.set(side, count);
    return true;
  }

  #edge(from: string, to: string, kind: ReachEdge["kind"]): void {
    const key = `${from} ${to}`;
    if (!this.#edges.has(key)) this.#edges.set(key, { from, to, kind });
  }
}
