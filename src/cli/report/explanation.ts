import type { ExplainedInstruction, ExplainedRow, Explanation } from "../../build/explain/explain.ts";
import type { Style } from "../terminal/style.ts";

/** What stands between the two sides: `=` for a line number that moved, `!` for a difference, `>` before the first of them. */
const marks: Readonly<Record<ExplainedRow["difference"], string>> = { none: " ", line: "=", changed: "!" };
/** Columns that one side takes at most. */
const widest = 64;

/** Both builds of a function, side by side. */
export function formatExplanation({ original, patched, reason, rows }: Explanation, style: Style): string[] {
  const [left, right] = [linesOf(rows, "original"), linesOf(rows, "patched")];
  const titles = [original ?? "(not there)", patched ?? "(not there)"] as const;
  const width = Math.min(widest, Math.max(titles[0].length, ...left.map((text) => text.length)));
  const cut = (text: string): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width));
  const body = rows.map(({ difference, isFirst }, at) => {
    const text =
      `${isFirst ? ">" : " "}${marks[difference]} ${cut(left[at] as string)} | ${right[at] as string}`.trimEnd();
    return difference === "changed" ? style("red", text) : text;
  });
  const verdict = reason === null ? "unchanged" : `differs: ${reason}`;
  return [verdict, "", `   ${cut(titles[0])} | ${titles[1]}`, ...body];
}

/** One side, with each line of the source where it begins. */
function linesOf(rows: readonly ExplainedRow[], side: "original" | "patched"): string[] {
  let line: string | null = null;
  return rows.map((row) => {
    const instruction: ExplainedInstruction | null = row[side];
    if (instruction === null) return "";
    const { offset, text, symbols } = instruction;
    const isNew = instruction.line !== null && instruction.line !== line;
    line = instruction.line ?? line;
    const place = offset < 0 ? `-${(-offset).toString(16)}` : offset.toString(16);
    const named = symbols.length > 0 ? `  ${symbols.join(", ")}` : "";
    return `${place.padStart(4)}: ${text}${named}${isNew ? `  (${line})` : ""}`;
  });
}
