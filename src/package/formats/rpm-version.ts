/**
 * Compares two versions as rpm does (rpmio/rpmvercmp.c): runs of digits and of letters are segments, everything else separates them; `~` sorts before the end
 * of a version and `^` after it, but before more text.
 * @returns negative, 0 or positive.
 */
export function compareRpmVersions(a: string, b: string): number {
  let [left, right] = [a, b];
  for (;;) {
    left = left.replace(/^[^A-Za-z0-9~^]+/, "");
    right = right.replace(/^[^A-Za-z0-9~^]+/, "");
    if (left[0] === "~" || right[0] === "~") {
      if (left[0] !== "~") return 1;
      if (right[0] !== "~") return -1;
      [left, right] = [left.slice(1), right.slice(1)];
      continue;
    }
    if (left[0] === "^" || right[0] === "^") {
      if (left === "") return -1;
      if (right === "") return 1;
      if (left[0] !== "^") return 1;
      if (right[0] !== "^") return -1;
      [left, right] = [left.slice(1), right.slice(1)];
      continue;
    }
    if (left === "" || right === "") return left === right ? 0 : left === "" ? -1 : 1;
    const digits = /^\d/.test(left);
    const pattern = digits ? /^\d+/ : /^[A-Za-z]+/;
    const one = (pattern.exec(left) as RegExpExecArray)[0];
    const other = pattern.exec(right)?.[0];
    // A number is newer than a word.
    if (other === undefined) return digits ? 1 : -1;
    const order = digits ? compareNumbers(one, other) : compareTexts(one, other);
    if (order !== 0) return order;
    left = left.slice(one.length);
    right = right.slice(other.length);
  }
}

/** Numbers of any length. */
function compareNumbers(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ""), b.replace(/^0+/, "")];
  return x.length - y.length || compareTexts(x, y);
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
