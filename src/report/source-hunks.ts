import { structuredPatch } from "diff";
import type { ChangedFile } from "../change/change-set.ts";
import type { Refusal } from "../refusals/refusals.ts";
import type { HunkLine } from "./report-types.ts";

/** Unchanged lines around each change. */
const context = 3;

/** A hunk, and what its lines are for the compiler. */
export interface OpenHunk {
  readonly oldStart: number;
  readonly newStart: number;
  readonly lines: readonly HunkLine[];
  /** Numbers of the removed lines in the original build. */
  readonly removed: ReadonlySet<number>;
  /** Numbers that the added lines have in the patched build, whose unchanged lines keep their old ones (src/change/line-marks.ts). */
  readonly added: ReadonlySet<number>;
  /** Those of {@link added} that an unchanged line has as well: code of such a number may be of the one or of the other. */
  readonly shared: ReadonlySet<number>;
}

/** Text of a source file: UTF-8 where it is, else each byte for itself. */
export function sourceText(content: Uint8Array | null): string {
  if (content === null) return "";
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return Buffer.from(content).toString("latin1");
  }
}

/** The hunks of a changed file. @param refusals that may name lines of it. */
export function hunksOf({ path, original, patched }: ChangedFile, refusals: readonly Refusal[]): OpenHunk[] {
  const { hunks } = structuredPatch(path, path, sourceText(original), sourceText(patched), "", "", { context });
  const refused = refusedLines(path, refusals);
  const open = hunks.map(({ oldStart, newStart, lines }) => {
    const shown: HunkLine[] = [];
    const [removed, added] = [new Set<number>(), new Set<number>()];
    let [before, after, compiled] = [oldStart, newStart, oldStart];
    for (const line of lines) {
      const text = line.slice(1);
      const sign = line[0];
      if (sign === "+") {
        added.add(compiled++);
        shown.push({ kind: "added", old: null, new: after, text, refused: refused.get(after) ?? [] });
        after++;
      } else if (sign === "-") {
        removed.add(before);
        shown.push({ kind: "removed", old: before, new: null, text, refused: [] });
        before++;
      } else if (sign === " ") {
        shown.push({ kind: "context", old: before, new: after, text, refused: refused.get(after) ?? [] });
        before++;
        after++;
        compiled = before;
      }
    }
    return { oldStart, newStart, lines: shown, removed, added };
  });
  const gone = new Set(open.flatMap(({ removed }) => [...removed]));
  return open.map((hunk) => ({ ...hunk, shared: new Set([...hunk.added].filter((line) => !gone.has(line))) }));
}

/** By number of a line of the patched file, what is refused there. */
function refusedLines(path: string, refusals: readonly Refusal[]): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const { code, what, where, why, unit } of refusals) {
    for (const [, file = "", line = ""] of where.matchAll(/([\w./+-]+\.[chS]):(\d+)/g)) {
      if (file !== path && !path.endsWith(`/${file}`)) continue;
      // The last part of a path may be that of several files.
      if (file !== path && unit !== undefined && unit !== path && unit.endsWith(`/${file}`)) continue;
      const number = Number(line);
      found.set(number, [...(found.get(number) ?? []), `${code}: ${what}: ${why}`]);
    }
  }
  return found;
}
