import { Graph, layout } from "@dagrejs/dagre";
import type { ReachGraph, ReachNode, ReviewReport } from "../report-types.ts";
import { Nothing, Scroll, Section, Table } from "./parts.tsx";

/** Pixels of a letter of the font that names are set in, and of a box. */
const letter = 7.3;
const boxHeight = 40;
/** Boxes from which on a picture cannot be read. */
const mostBoxes = 160;
/** Edges that the table shows. */
const mostEdges = 1000;
/** Letters of a name that are shown; all of them are in its title and in the table. */
const mostLetters = 30;

interface Box {
  readonly node: ReachNode;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

interface Line {
  readonly kind: ReachGraph["edges"][number]["kind"];
  readonly isMarked: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

interface Picture {
  readonly width: number;
  readonly height: number;
  readonly boxes: readonly Box[];
  readonly lines: readonly Line[];
}

const kinds: Readonly<Record<ReachNode["kind"], string>> = {
  changed: "replaced",
  new: "new",
  caller: "calls it",
  inlined: "inlined",
  reached: "reached",
};

/** Callers, inlined functions and what the new code reaches. */
export function GraphPart({ report }: { readonly report: ReviewReport }) {
  const { graph } = report;
  const { nodes, edges, leftOut } = graph;
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const nameOf = (id: string): string => byId.get(id)?.name ?? id;
  return (
    <Section
      id="graph"
      lead="Who calls the changed functions by a direct call, where changed source was inlined, and what the new code reaches. Calls through pointers are not seen."
    >
      {nodes.length === 0 ? (
        <Nothing>No function is replaced.</Nothing>
      ) : (
        <>
          {nodes.length > mostBoxes ? (
            <Nothing>{nodes.length} functions and variables are too many for a picture: the table has them.</Nothing>
          ) : (
            <PictureView graph={graph} />
          )}
          {leftOut > 0 && <p class="quiet">{leftOut} more callers and reached symbols are left out.</p>}
          <details>
            <summary>The same as a table</summary>
            <Table
              caption="Edges of the graph"
              heads={["from", "object", "does", "to", "object"]}
              rows={edges
                .slice(0, mostEdges)
                .map(({ from, to, kind }) => [
                  <code>{nameOf(from)}</code>,
                  objectText(byId.get(from)),
                  kind === "inlined" ? "is inlined in" : kind,
                  <code>{nameOf(to)}</code>,
                  objectText(byId.get(to)),
                ])}
            />
            {edges.length > mostEdges && <p class="nothing">{edges.length - mostEdges} more edges are in the JSON.</p>}
          </details>
        </>
      )}
    </Section>
  );
}

function PictureView({ graph }: { readonly graph: ReachGraph }) {
  return (
    <>
      <Scroll label="Graph of callers and of what is reached" class="graph">
        <Svg picture={pictureOf(graph)} count={graph.nodes.length} />
      </Scroll>
      <ul class="legend">
        {(Object.keys(kinds) as ReachNode["kind"][]).map((kind) => (
          <li>
            <span class={`key node-${kind}`} /> {kinds[kind]}
          </li>
        ))}
        <li>
          <span class="key marked" /> notrace or init: keeps the old code
        </li>
      </ul>
    </>
  );
}

function objectText(node: ReachNode | undefined): string {
  if (node === undefined) return "";
  return node.mark === null ? node.object : `${node.object}, ${node.mark}`;
}

function Svg({ picture, count }: { readonly picture: Picture; readonly count: number }) {
  const { width, height, boxes, lines } = picture;
  return (
    <svg
      role="img"
      aria-labelledby="graph-name"
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      xmlns="http://www.w3.org/2000/svg"
    >
      <title id="graph-name">{count} functions and variables; the table below says the same</title>
      <defs>
        <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
          <path class="tip" d="M0 0 8 4 0 8z" />
        </marker>
      </defs>
      {lines.map(({ kind, isMarked, points }) => (
        <path class={`edge edge-${kind}${isMarked ? " edge-marked" : ""}`} d={curve(points)} marker-end="url(#tip)" />
      ))}
      {boxes.map(({ node, x, y, width: wide, height: high }) => (
        <g class={`node node-${node.kind}${node.mark === null ? "" : " marked"}`}>
          <title>
            {node.name} ({node.object})
          </title>
          <rect x={round(x - wide / 2)} y={round(y - high / 2)} width={wide} height={high} rx="7" />
          <text class="name" x={round(x)} y={round(y - 2)}>
            {shortened(node.name)}
          </text>
          <text class="object" x={round(x)} y={round(y + 13)}>
            {objectText(node)}
          </text>
        </g>
      ))}
    </svg>
  );
}

function shortened(name: string): string {
  return name.length > mostLetters ? `${name.slice(0, mostLetters - 1)}…` : name;
}

function pictureOf({ nodes, edges }: ReachGraph): Picture {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 10, ranksep: 56, edgesep: 6, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  // Names of nodes are numbers: those from outside could mean something to the library.
  const numbers = new Map(nodes.map(({ id }, index) => [id, String(index)]));
  for (const [index, node] of nodes.entries()) {
    const letters = Math.max(shortened(node.name).length, objectText(node).length * 0.85);
    graph.setNode(String(index), { width: Math.ceil(letters * letter) + 22, height: boxHeight });
  }
  for (const { from, to } of edges) graph.setEdge(numbers.get(from) ?? "", numbers.get(to) ?? "");
  layout(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const byId = new Map(nodes.map((node) => [node.id, node]));
  return {
    width: Math.ceil(width),
    height: Math.ceil(height),
    boxes: nodes.map((node, index) => {
      const { x, y, width: wide, height: high } = graph.node(String(index)) as unknown as Omit<Box, "node">;
      return { node, x, y, width: wide, height: high };
    }),
    lines: edges.map(({ from, to, kind }) => {
      const edge = graph.edge(numbers.get(from) ?? "", numbers.get(to) ?? "") as unknown as Line;
      return { kind, isMarked: byId.get(from)?.mark !== null, points: edge.points };
    }),
  };
}

/** A line through the middles between points, bent at the points. */
function curve(points: Line["points"]): string {
  const [first, ...rest] = points;
  const last = rest.at(-1);
  if (first === undefined || last === undefined) return "";
  let path = `M${round(first.x)} ${round(first.y)}`;
  for (let at = 0; at + 1 < rest.length; at++) {
    const [bend, next] = [rest[at] as Line["points"][number], rest[at + 1] as Line["points"][number]];
    const end = at + 2 === rest.length ? next : { x: (bend.x + next.x) / 2, y: (bend.y + next.y) / 2 };
    path += `Q${round(bend.x)} ${round(bend.y)} ${round(end.x)} ${round(end.y)}`;
  }
  return rest.length === 1 ? `${path}L${round(last.x)} ${round(last.y)}` : path;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
