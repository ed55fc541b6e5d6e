/** A number with what it counts: `1 unit`, `3 units`. */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
