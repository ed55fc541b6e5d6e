import { diagnoseAll } from "../diagnose-all.ts";
import { type Diagnostic, outermostPlace } from "../diagnostics.ts";
import { type Oracle, SourceFiles, type TextOverlay } from "../oracle.ts";
import type { Obstacle } from "../soundness.ts";
import { applyEdits, type SourceText } from "../source-text.ts";
import { shadowName } from "./accessors.ts";

/** What the compiler says where a constant is written to, or may be. */
const constantViolation = /read-only|discards '[^']*const[^']*' qualifier/;
/** Rounds: of several on a line, the compiler may tell one at a time. */
const mostRounds = 4;

/**
 * A value that is read is a constant, so the compiler tells of each place where more is done with it than to read it, inside of macros too. Such places get the accessor
 * for a value that is changed.
 */
export async function makeWritable(
  tag: string,
  members: ReadonlySet<string>,
  oracle: Oracle,
  files: TextOverlay,
): Promise<{ readonly files: TextOverlay; readonly obstacles: readonly Obstacle[] }> {
  const accessors = new RegExp(`\\b(${[...members].map((member) => shadowName(tag, member)).join("|")})\\(`, "g");
  let current = files;
  for (let round = 0; round < mostRounds; round++) {
    const sources = new SourceFiles(oracle, current);
    const edits = new Map<string, Set<number>>();
    const unclear: Diagnostic[] = [];
    for (const found of await diagnoseAll(oracle, current)) {
      const isViolation = constantViolation.test(found.message);
      if (found.kind === "warning" && !isViolation) continue;
      const { file, line } = outermostPlace(found);
      const source = await sources.open(file);
      const places = source === undefined || !isViolation ? [] : accessorsIn(source, line, accessors);
      const known = edits.get(file) ?? new Set();
      for (const place of places) known.add(place);
      edits.set(file, known);
      // Old code casts constants away in many places of its own.
      if (places.length === 0 && (found.kind === "error" || found.message.includes("kmend_"))) unclear.push(found);
    }
    if (unclear.length > 0) {
      const obstacles = unclear.map(({ message, function: name, ...found }): Obstacle => {
        const { file, line } = outermostPlace({ ...found, message, function: name });
        return { rule: "UNCLEAR", file, line, function: name, values: { message } };
      });
      return { files, obstacles };
    }
    const next = new Map(current);
    for (const [file, places] of edits) {
      const source = await sources.open(file);
      const inserts = [...places].map((at) => ({ start: at, end: at, text: "_rw" }));
      if (source !== undefined && inserts.length > 0) next.set(file, applyEdits(source.text, inserts));
    }
    if ([...edits.values()].every(({ size }) => size === 0)) return { files: current, obstacles: [] };
    current = next;
  }
  return { files: current, obstacles: [] };
}

/** Offsets behind the names of accessors in the statement that a line is part of. */
function accessorsIn(source: SourceText, line: number, accessors: RegExp): number[] {
  const start = source.offsetOf({ line, column: 1 });
  const lineEnd = source.code.indexOf("\n", start);
  const end = source.code.slice(start, lineEnd).includes(";") ? lineEnd : source.code.indexOf(";", lineEnd);
  const text = source.code.slice(start, end);
  return [...text.matchAll(accessors)].map((match) => start + match.index + match[0].length - 1);
}
