/**
 * Compares two Debian package versions by the rules of deb-version(7): epoch, then upstream version, then revision, in alternating runs of
 * non-digits and digits, where `~` sorts before everything, even the end.
 * @returns a negative number when `a` is older, 0 when equal, a positive number when newer.
 */
export function compareDebianVersions(a: string, b: string): number {
  const left = split(a);
  const right = split(b);
  return (
    left.epoch - right.epoch ||
    compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision)
  );
}

/** The upstream part without epoch and revision: `6.1.9` of `6.1.9-2`. */
export function upstreamVersion(version: string): string {
  return split(version).upstream;
}

function split(version: string): { epoch: number; upstream: string; revision: string } {
  const colon = version.indexOf(":");
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf("-");
  return {
    epoch: colon < 0 ? 0 : Number(version.slice(0, colon)),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? "" : rest.slice(dash + 1),
  };
}

function compareParts(a: string, b: string): number {
  const left = runs(a);
  const right = runs(b);
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const [textA, numberA] = left[index] ?? ["", 0];
    const [textB, numberB] = right[index] ?? ["", 0];
    const order = compareText(textA, textB) || numberA - numberB;
    if (order !== 0) return order;
  }
  return 0;
}

/** `6.12~a` becomes `["", 6], [".", 12], ["~a", 0]`. */
function runs(part: string): [text: string, number: number][] {
  return [...part.matchAll(/(\D*)(\d*)/g)]
    .filter(([all]) => all !== "")
    .map(([, text, digits]) => [text ?? "", Number(digits)]);
}

function compareText(a: string, b: string): number {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const order = rank(a[index]) - rank(b[index]);
    if (order !== 0) return order;
  }
  return 0;
}

function rank(character: string | undefined): number {
  if (character === "~") return -1;
  if (character === undefined) return 0;
  return /[A-Za-z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256;
}
