import { parsePatch } from "diff";
import type { HunkLine, SourceChange } from "./report-types.ts";
import { sourceText } from "./source-hunks.ts";

/** The hunks of a unified diff, of which nothing more is known; none for a text that is no diff. */
export function patchHunksOf(patch: Uint8Array): SourceChange[] {
  let parsed: ReturnType<typeof parsePatch>;
  try {
    parsed = parsePatch(sourceText(patch));
  } catch {
    return [];
  }
  return parsed
    .filter(({ hunks }) => hunks.length > 0)
    .map(({ oldFileName, newFileName, hunks }) => ({
      path: stripped(newFileName) ?? stripped(oldFileName) ?? "",
      kind:
        stripped(oldFileName) === undefined ? "added" : stripped(newFileName) === undefined ? "deleted" : "modified",
      hunks: hunks.map(({ oldStart, newStart, lines }) => ({
        oldStart,
        newStart,
        lines: numbered(lines, oldStart, newStart),
        fates: [],
      })),
      fates: [],
    }));
}

function stripped(name: string | undefined): string | undefined {
  return name === undefined || name === "/dev/null" ? undefined : name.replace(/^[^/]*\//, "");
}

function numbered(lines: readonly string[], oldStart: number, newStart: number): HunkLine[] {
  let [before, after] = [oldStart, newStart];
  return lines.flatMap((line): HunkLine[] => {
    const text = line.slice(1);
    if (line.startsWith("+")) return [{ kind: "added", old: null, new: after++, text, refused: [] }];
    if (line.startsWith("-")) return [{ kind: "removed", old: before++, new: null, text, refused: [] }];
    return line.startsWith("\\") ? [] : [{ kind: "context", old: before++, new: after++, text, refused: [] }];
  });
}
