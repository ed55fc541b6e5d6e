/** Lists and objects within each other; ours have few levels, and what walks through all of a value has no end to its stack. */
const deepest = 32;

/** Whether a value that was read as JSON has lists and objects within each other that nothing of kmend writes. */
export function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > deepest) return true;
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
  }
  return false;
}
