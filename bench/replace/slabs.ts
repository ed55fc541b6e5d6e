/** Objects in use of each cache (slabinfo(5)): name, active objects, all objects, size of an object. */
export function readSlabs(text: string): ReadonlyMap<string, { readonly active: number; readonly bytes: number }> {
  return new Map(
    [...text.matchAll(/^(\S+) +(\d+) +(\d+) +(\d+) /gm)].map(([, name, active, , size]) => [
      name as string,
      { active: Number(active), bytes: Number(active) * Number(size) },
    ]),
  );
}

/** What a cache may grow more than in the run that it is compared with: its processors keep some objects at hand. */
const slack = { objects: 1500, bytes: 1 << 20 };

/** Caches that grew clearly more between two moments of one guest than between the same two of another. */
export function grownSlabs(
  plain: readonly [before: string, after: string],
  replaced: readonly [before: string, after: string],
): string[] {
  const [before, after, plainBefore, plainAfter] = [...replaced, ...plain].map(readSlabs);
  if (before === undefined || after === undefined || before.size === 0 || after.size === 0) return [];
  return [...after].flatMap(([name, now]) => {
    const growth = now.active - (before.get(name)?.active ?? 0);
    const bytes = now.bytes - (before.get(name)?.bytes ?? 0);
    const usual = (plainAfter?.get(name)?.active ?? 0) - (plainBefore?.get(name)?.active ?? 0);
    const isMore = growth > 2 * Math.max(0, usual) && (growth > slack.objects || bytes > slack.bytes);
    return isMore ? [`${name}: ${growth} objects more, ${bytes} bytes; without modules ${usual}`] : [];
  });
}
