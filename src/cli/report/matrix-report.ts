import type { MatrixResult } from "../../matrix/matrix-result.ts";
import type { CellState, MatrixState } from "../../matrix/matrix-state.ts";
import type { CommandContext } from "../command.ts";
import { formatTable } from "../terminal/table.ts";

/** Prints what a matrix came to: a row for each kernel, a column for each package, and why cells have no module. */
export function reportMatrix(context: CommandContext, result: MatrixResult): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  const { cells, packages, counts, output, repository } = result;
  for (const line of gridLines(cells)) context.print(line);
  for (const cell of cells) for (const line of reasons(cell)) context.print(line);
  context.print("");
  const parts = Object.entries(counts).filter(([, count]) => count > 0);
  context.print(context.style("bold", parts.map(([name, count]) => `${count} ${name}`).join(", ")));
  for (const { id, state, file, problem } of packages) {
    const why = problem === null ? "" : `: ${problem.code}: ${problem.message}`;
    context.print(`  ${id}: ${state}${file === null ? "" : ` ${file}`}${why}`);
  }
  context.print(`packages, modules and logs: ${output}${repository === null ? "" : `; repository: ${repository}`}`);
}

/** How a run stands, for a terminal with so many lines. */
export function liveGrid(state: MatrixState, lines: number): string {
  const counts = Object.entries(state.counts()).filter(([, count]) => count > 0);
  const grid = gridLines([...state.cells.values()]);
  const shown =
    grid.length <= lines ? grid : [...grid.slice(0, lines - 1), `  … and ${grid.length - lines + 1} kernels more`];
  return [counts.map(([name, count]) => `${count} ${name}`).join(", "), ...shown].join("\n");
}

/** Kernels down, packages across. */
function gridLines(cells: readonly CellState[]): readonly string[] {
  const packages = [...new Set(cells.map((cell) => cell.package))];
  const kernels = [...new Set(cells.map(({ kernel }) => kernel))];
  const by = new Map(cells.map((cell) => [`${cell.package} ${cell.kernel}`, cell]));
  const rows = kernels.map((kernel) => [kernel, ...packages.map((name) => shown(by.get(`${name} ${kernel}`)))]);
  return formatTable([["", ...packages], ...rows]);
}

function shown(cell: CellState | undefined): string {
  if (cell === undefined) return "-";
  if (cell.state === "running") return cell.step ?? "running";
  return cell.trial === null ? cell.state : `${cell.state} (${cell.trial})`;
}

function reasons({ id, refusals, problem, state }: CellState): readonly string[] {
  if (state === "refused") {
    return refusals.slice(0, 5).map(({ code, what }) => `${id}: refused[${code}]: ${what}`);
  }
  if (state !== "failed" || problem === null) return [];
  return [`${id}: error[${problem.code}]: ${problem.message}`, `  log: logs/${id}.log`];
}
