import { sanitiseLine } from "../../support/sanitise.ts";

/** Lines of a table: columns padded to their widest cell, the last one left as it is, two spaces at the start and between. */
export function formatTable(texts: readonly (readonly string[])[]): string[] {
  const rows = texts.map((row) => row.map(sanitiseLine));
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows.map((row) => {
    const cells = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)));
    return `  ${cells.join("  ")}`.trimEnd();
  });
}
