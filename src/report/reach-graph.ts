import type { BuildFacts } from "../build/build-facts.ts";
import type { ResolvedUnit } from "../build/resolve/plan.ts";
import { ownerOf } from "../build/resolve/resolve.ts";
import { baseName, coldParent } from "../diff/names.ts";
import { classOf } from "../diff/section-classes.ts";
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
  const places = new Map<number, string>();
  for (const { plan, redirections } of examination.resolved) {
    if (plan.target.name !== "vmlinux") continue;
    for (const { address, atom } of redirections) places.set(address, atom.name);
  }
  for (const { name, to, mark } of await imageCallers(session.kernel.image, new Set(places.keys()))) {
    const callee = places.get(to);
    if (callee !== undefined) graph.caller({ name, object: "vmlinux", mark }, callee, "vmlinux");
  }
  for (const unit of examination.resolved) addReached(graph, unit);
  return graph.finished();
}

function addChanged(graph: GraphDraft, { plan, selection }: ResolvedUnit): void {
  for (const atom of selection.atoms) {
    if (atom.kind !== "function" || coldParent(atom.name) !== undefined) continue;
    const change = plan.changes.functions.get(atom);
    graph.node(atom.name, plan.pair.object, change?.original === undefined ? "new" : "changed", null);
  }
}

function addInlined(graph: GraphDraft, { source, functions }: Fate): void {
  for (const name of source)
    for (const holder of functions) graph.inlined(name, coldParent(holder.name) ?? holder.name, holder.object);
}

/** Functions of the same unit with calls of the changed ones. */
function addCallers(graph: GraphDraft, { plan }: ResolvedUnit): void {
  const changed = new Set([...plan.changes.functions.values()].flatMap(({ original }) => original ?? []));
  for (const atom of plan.original.atoms) {
    if (atom.kind !== "function" || changed.has(atom)) continue;
    for (const reference of atom.references) {
      const { target } = reference;
      if (target.kind !== "atom" || !changed.has(target.atom) || !plan.original.arch.isBranch(atom, reference))
        continue;
      const isInit = classOf(atom.section) === "init";
      const caller = {
        name: coldParent(atom.name) ?? atom.name,
        object: plan.pair.object,
        mark: isInit ? "init" : null,
      } as const;
      graph.caller(caller, baseName(coldParent(target.atom.name) ?? target.atom.name), plan.pair.object);
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
      if (route.to === "absolute") continue;
      const name = route.to === "inside" ? target.name : route.to === "original" ? route.atom.name : route.name;
      const reach = reached.get(name);
      const owner = route.to === "inside" || reach === undefined ? undefined : ownerOf(reach);
      const object = owner ?? thisModule;
      const isCall = plan.patched.arch.isBranch(atom, reference);
      graph.reached(from, plan.pair.object, { name: coldParent(name) ?? name, object }, isCall ? "calls" : "reaches");
    }
  }
}

type Place = Pick<ReachNode, "name" | "object">;

/** Collects nodes and edges, each once. */
class GraphDraft {
  readonly #nodes = new Map<string, ReachNode>();
  readonly #edges = new Map<string, ReachEdge>();
  readonly #counts = new Map<string, number>();
  readonly #leftOut = new Set<string>();

  node(name: string, object: string, kind: ReachNode["kind"], mark: ReachNode["mark"]): string {
    const id = `${object}:${name}`;
    const known = this.#nodes.get(id);
    if (known === undefined) this.#nodes.set(id, { id, name, object, kind, mark });
    else if (known.mark === null && mark !== null) this.#nodes.set(id, { ...known, mark });
    return id;
  }

  caller({ name, object, mark }: Place & Pick<ReachNode, "mark">, callee: string, calleeObject: string): void {
    const to = this.#changed(callee, calleeObject);
    if (to === undefined || name === callee) return;
    const id = `${object}:${name}`;
    if (!this.#nodes.has(id) && !this.#mayAdd(`${to} <`, id)) return;
    this.#edge(this.node(name, object, "caller", mark), to, "calls");
  }

  inlined(name: string, holder: string, object: string): void {
    const to = this.#changed(holder, object);
    if (to === undefined) return;
    this.#edge(this.node(name, "source", "inlined", null), to, "inlined");
  }

  reached(from: string, fromObject: string, { name, object }: Place, kind: ReachEdge["kind"]): void {
    const source = this.#changed(from, fromObject);
    if (source === undefined || name === from) return;
    const own = this.#changed(name, object === thisModule ? fromObject : object);
    if (own !== undefined) {
      this.#edge(source, own, "calls");
      return;
    }
    const id = `${object}:${name}`;
    if (!this.#nodes.has(id) && !this.#mayAdd(`${source} >`, id)) return;
    this.#edge(source, this.node(name, object, "reached", null), kind);
  }

  finished(): ReachGraph {
    return { nodes: [...this.#nodes.values()], edges: [...this.#edges.values()], leftOut: this.#leftOut.size };
  }

  #changed(name: string, object: string): string | undefined {
    const node = this.#nodes.get(`${object}:${name}`);
    return node?.kind === "changed" || node?.kind === "new" ? node.id : undefined;
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
