import { diffArrays } from "diff";

/** Unchanged lines that are shown before and after each change. */
const neighbours = 1;
/** Lines that may differ; a comparison of more would take long and be of no use. */
const mostDifferences = 1000;
/** Characters of one side. */
const widest = 58;

/**
 * Two lists of lines beside each other: only those that differ, with their neighbours. `…` stands for what is left out.
 * @returns lines without line ends, the first one with the titles; none when nearly everything differs.
 */
export function sideBySide(
  titles: readonly [string, string],
  left: readonly string[],
  right: readonly string[],
): string[] {
  const pairs: [string, string, boolean][] = [];
  let removed: readonly string[] = [];
  const flush = (added: readonly string[]): void => {
    for (let index = 0; index < Math.max(removed.length, added.length); index++)
      pairs.push([removed[index] ?? "", added[index] ?? "", true]);
    removed = [];
  };
  for (const part of diffArrays([...left], [...right], { maxEditLength: mostDifferences }) ?? []) {
    if (part.removed) removed = part.value;
    else if (part.added) flush(part.value);
    else {
      flush([]);
      for (const line of part.value) pairs.push([line, line, false]);
    }
  }
  flush([]);
  if (pairs.length === 0) return [];
  const shown = new Set<number>();
  for (const [index, [, , differs]] of pairs.entries()) {
    for (let near = index - neighbours; differs && near <= index + neighbours; near++) shown.add(near);
  }
  const rows: [string, string, boolean][] = [[titles[0], titles[1], false]];
  let last = -1;
  for (const [index, pair] of pairs.entries()) {
    if (!shown.has(index)) continue;
    if (index !== last + 1) rows.push(["…", "…", false]);
    rows.push(pair);
    last = index;
  }
  if (last < pairs.length - 1) rows.push(["…", "…", false]);
  const width = Math.min(widest, Math.max(...rows.map(([text]) => text.length)));
  return rows.map(([a, b, differs]) => `${cut(a).padEnd(width)} ${differs ? "|" : " "} ${cut(b)}`.trimEnd());
}

function cut(text: string): string {
  return text.length <= widest ? text : `${text.slice(0, widest - 1)}…`;
}
