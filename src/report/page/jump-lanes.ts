/** A branch from one row of a listing to another. */
export interface Jump {
  readonly from: number;
  readonly to: number;
}

/** Arrows beside each other at most; branches that find no room are shown by their link alone. */
const mostLanes = 5;

/**
 * Draws branches in the margin of a listing, one text for each row: short branches are next to the code, longer ones further out.
 * @param rows how many there are.
 */
export function jumpLanes(rows: number, jumps: readonly Jump[]): string[] {
  const lanes: Jump[][] = [];
  const sorted = [...jumps].sort((a, b) => span(a) - span(b) || a.from - b.from || a.to - b.to);
  for (const jump of sorted) {
    // A longer branch that shares a row with a shorter one needs a lane further out.
    const at = lanes.findIndex((lane) => lane.every((other) => high(other) < low(jump) || low(other) > high(jump)));
    if (at >= 0) lanes[at]?.push(jump);
    else if (lanes.length < mostLanes) lanes.push([jump]);
  }
  const width = lanes.length;
  if (width === 0) return Array.from({ length: rows }, () => "");
  const grid = Array.from({ length: rows }, () => Array.from({ length: width + 1 }, () => " "));
  for (const [index, lane] of lanes.entries()) {
    const column = width - 1 - index;
    for (const jump of lane) draw(grid, jump, column, width);
  }
  return grid.map((row) => row.join(""));
}

function draw(grid: string[][], jump: Jump, column: number, width: number): void {
  for (let row = low(jump); row <= high(jump); row++) {
    const line = grid[row];
    if (line === undefined) continue;
    const isEnd = row === jump.from || row === jump.to;
    if (!isEnd)
      line[column] =
        line[column] === " " || line[column] === "─" ? (line[column] === "─" ? "┼" : "│") : (line[column] as string);
    else {
      line[column] = low(jump) === high(jump) ? "─" : row === low(jump) ? "╭" : "╰";
      for (let at = column + 1; at < width; at++)
        line[at] = line[at] === "│" ? "┼" : line[at] === " " ? "─" : (line[at] as string);
      line[width] = row === jump.to ? "▸" : line[width] === "▸" ? "▸" : "─";
    }
  }
}

function low({ from, to }: Jump): number {
  return Math.min(from, to);
}

function high({ from, to }: Jump): number {
  return Math.max(from, to);
}

function span(jump: Jump): number {
  return high(jump) - low(jump);
}
