import { dirname, join, normalize } from "node:path";
import { read, typeScriptFiles } from "./source-files.ts";

type Imports = Map<string, Set<string>>;

/** By room, the rooms that it imports from. */
function roomImports(): Imports {
  const imports: Imports = new Map();
  for (const file of typeScriptFiles("src").sort()) {
    const [, room, inside] = file.split("/");
    if (room === undefined || inside === undefined) continue;
    const others = imports.get(room) ?? new Set<string>();
    imports.set(room, others);
    for (const [, from] of read(file).matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
      const other = normalize(join(dirname(file), from as string)).split("/")[1];
      if (other !== undefined && other !== room) others.add(other);
    }
  }
  return imports;
}

/** Rooms in rows: each row imports from those below it only. */
function rowsOf(imports: Imports): string[][] {
  const ranks = new Map<string, number>();
  const rankOf = (room: string): number => {
    const rank = ranks.get(room) ?? 1 + Math.max(-1, ...[...(imports.get(room) ?? [])].map(rankOf));
    ranks.set(room, rank);
    return rank;
  };
  const rows: string[][] = [];
  for (const room of [...imports.keys()].sort()) {
    const row = rankOf(room);
    rows[row] = [...(rows[row] ?? []), room];
  }
  return rows.reverse();
}

/** Rooms that are reached over at least one other; an arrow to them would say nothing new. */
function indirect(room: string, imports: Imports): Set<string> {
  const reached = new Set<string>();
  const visit = (from: string): void => {
    for (const other of imports.get(from) ?? []) {
      if (reached.has(other)) continue;
      reached.add(other);
      visit(other);
    }
  };
  for (const other of imports.get(room) ?? []) visit(other);
  return reached;
}

const box = { width: 128, height: 34, gapX: 24, gapY: 44, margin: 20 };

interface Place {
  readonly x: number;
  readonly y: number;
}

/** The rooms of src/ and the imports between them, as docs/rooms.svg has it. */
export function roomPicture(): string {
  const imports = roomImports();
  const rows = rowsOf(imports);
  const widest = Math.max(...rows.map(({ length }) => length));
  const width = 2 * box.margin + widest * box.width + (widest - 1) * box.gapX;
  const height = 2 * box.margin + rows.length * box.height + (rows.length - 1) * box.gapY;
  const places = new Map<string, Place>();
  const placeOf = (room: string): Place => places.get(room) as Place;
  rows.forEach((row, line) => {
    const length = row.length * box.width + (row.length - 1) * box.gapX;
    row.forEach((room, index) => {
      const x = Math.round((width - length) / 2 + index * (box.width + box.gapX));
      places.set(room, { x, y: box.margin + line * (box.height + box.gapY) });
    });
  });
  const arrows = [...imports].flatMap(([room, others]) => {
    const skipped = indirect(room, imports);
    return [...others]
      .filter((other) => !skipped.has(other))
      .sort()
      .map((other) => arrow(placeOf(room), placeOf(other)));
  });
  const boxes = [...places].map(
    ([room, { x, y }]) =>
      `<rect x="${x}" y="${y}" width="${box.width}" height="${box.height}" rx="5"/>` +
      `<text x="${x + box.width / 2}" y="${y + box.height / 2 + 5}">${room}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Rooms of src and what they import">`,
    "<style>rect{fill:#f4f6f8;stroke:#4a5568}text{font:14px sans-serif;text-anchor:middle;fill:#1a202c}path{fill:none;stroke:#718096;marker-end:url(#tip)}</style>",
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#718096;stroke:none;marker-end:none"/></marker></defs>',
    ...arrows,
    ...boxes,
    "</svg>",
    "",
  ].join("\n");
}

function arrow(from: Place, to: Place): string {
  const [x1, y1] = [from.x + box.width / 2, from.y + box.height];
  const [x2, y2] = [to.x + box.width / 2, to.y];
  const middle = Math.round((y1 + y2) / 2);
  return `<path d="M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2 - 2}"/>`;
}
