/** The unified diff of one file, taken apart. */
export interface Hunks {
  /** Lines before the first hunk. */
  readonly head: readonly string[];
  readonly hunks: readonly Hunk[];
}

export interface Hunk {
  /** What stands behind `@@ … @@`: with `diff -p` the function or structure around it. */
  readonly within: string;
  /** Its lines, that one included. */
  readonly lines: readonly string[];
}

/** Takes the unified diff of one file apart. */
export function hunksOf(patch: string): Hunks {
  // Only the line break: the last line of a hunk may be blank context.
  const lines = patch.replace(/\n$/, "").split("\n");
  const first = lines.findIndex((line) => line.startsWith("@@ "));
  if (first < 0) return { head: lines, hunks: [] };
  const hunks: { within: string; lines: string[] }[] = [];
  for (const line of lines.slice(first)) {
    const within = /^@@ .* @@ ?(.*)$/.exec(line)?.[1];
    if (within === undefined) hunks.at(-1)?.lines.push(line);
    else hunks.push({ within, lines: [line] });
  }
  return { head: lines.slice(0, first), hunks };
}

/** A patch of some hunks; patch(1) finds their places by the lines of the older file. */
export function patchOf(head: readonly string[], hunks: readonly Hunk[]): string {
  return `${[...head, ...hunks.flatMap(({ lines }) => lines)].join("\n")}\n`;
}

/** Splits the unified diff of one C file into one patch for each group of neighbouring hunks whose headers (`diff -p`) name the same function. */
export function functionGroups(patch: string): string[] {
  const { head, hunks } = hunksOf(patch);
  const groups: Hunk[][] = [];
  for (const hunk of hunks) {
    const last = groups.at(-1);
    if (last?.[0]?.within === hunk.within) last.push(hunk);
    else groups.push([hunk]);
  }
  return groups.map((group) => patchOf(head, group));
}

/** Words of the lines that a hunk adds; with `outermost`, of those that begin in the first column, where C has its definitions. */
export function addedWords({ lines }: Hunk, outermost = false): Set<string> {
  const words = new Set<string>();
  for (const line of lines) {
    if (!line.startsWith("+") || (outermost && !/^\+[A-Za-z_]/.test(line))) continue;
    for (const [word] of line.matchAll(/[A-Za-z_]\w+/g)) words.add(word);
  }
  return words;
}

/** Words of all lines of a hunk. */
export function wordsOf({ lines }: Hunk): Set<string> {
  return new Set(lines.slice(1).flatMap((line) => line.match(/[A-Za-z_]\w+/g) ?? []));
}
