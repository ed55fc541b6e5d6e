/** A line of the original and the line that it is with the patch. */
export interface LinePair {
  readonly from: number;
  readonly to: number;
}

/** Lines of one file in two builds. Text keeps its order when lines are put in or taken out, so the map from old to new lines is monotone. */
export class LineMap {
  readonly #pairs: LinePair[];

  constructor(pairs: readonly LinePair[]) {
    this.#pairs = [...pairs].sort((a, b) => a.from - b.from || a.to - b.to);
  }

  /** True when later lines stay later, and equal ones equal. */
  get isMonotone(): boolean {
    return this.#pairs.every(({ from, to }, at) => {
      const before = this.#pairs[at - 1];
      return before === undefined || (from === before.from ? to === before.to : to > before.to);
    });
  }

  get hasMoved(): boolean {
    return this.#pairs.some(({ from, to }) => from !== to);
  }

  /** True when the pair fits between the others. */
  fits(pairs: readonly LinePair[]): boolean {
    return new LineMap([...this.#pairs, ...pairs]).isMonotone;
  }

  /** True when the line is neither above nor below all others. */
  spans({ from }: LinePair): boolean {
    const [first, last] = [this.#pairs[0], this.#pairs.at(-1)];
    return first !== undefined && last !== undefined && from >= first.from && from <= last.from;
  }

  /** True when the line moved as far as the nearest one before it, or the nearest one behind it. */
  movedAlike({ from, to }: LinePair): boolean {
    const before = this.#pairs.findLast((pair) => pair.from <= from);
    const behind = this.#pairs.find((pair) => pair.from >= from);
    return [before, behind].some((pair) => pair !== undefined && pair.to - pair.from === to - from);
  }
}
