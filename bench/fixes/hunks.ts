/** Splits the unified diff of one C file into one patch for each group of neighbouring hunks whose headers (`diff -p`) name the same function. */
export function functionGroups(patch: string): string[] {
  const lines = patch.split("\n");
  const first = lines.findIndex((line) => line.startsWith("@@ "));
  const head = lines.slice(0, first);
  const groups: { name: string; lines: string[] }[] = [];
  for (const line of lines.slice(first)) {
    const name = /^@@ .* @@ ?(.*)$/.exec(line)?.[1];
    const last = groups.at(-1);
    if (name === undefined || (last !== undefined && last.name === name)) last?.lines.push(line);
    else groups.push({ name, lines: [line] });
  }
  return groups.map((group) => `${[...head, ...group.lines].join("\n").trimEnd()}\n`);
}

/** Words of the lines that a patch adds. */
export function addedWords(patch: string): Set<string> {
  const words = new Set<string>();
  for (const line of patch.split("\n")) {
    if (!line.startsWith("+") || line.startsWith("+++")) continue;
    for (const [word] of line.matchAll(/[A-Za-z_]\w+/g)) words.add(word);
  }
  return words;
}
