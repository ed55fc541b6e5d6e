/** One row of an architecture's relocation table: what a type does to the bytes at its place. */
export interface RelocationRule {
  readonly type: number;
  /** As the processor's ABI supplement spells it, without the common prefix. */
  readonly name: string;
  /** Bytes at the place that the relocation belongs to; 0 for a mark that fills nothing. */
  readonly width: number;
  /**
   * The bits that it fills, one number per instruction word, most significant bit first; without it all bits of the place. The other bits of the place are
   * opcode and registers.
   */
  readonly bits?: readonly number[];
  /** `pc`: relative to the place. `branch`: a call or jump, too. `short`: a branch or address that reaches only its own section. */
  readonly kind?: "pc" | "branch" | "short";
  /** What has to be added to the addend to get the offset that is meant, where the processor counts from elsewhere than the place. */
  readonly bias?: number;
}

/** Rules by relocation type, ready to be asked. */
export class RelocationTable {
  readonly #rules: ReadonlyMap<number, RelocationRule>;
  readonly #littleEndianCode: boolean | undefined;
  readonly #masks = new Map<string, Uint8Array>();

  /** @param littleEndianCode byte order of instructions where it is not that of the data. */
  constructor(rules: readonly RelocationRule[], littleEndianCode?: boolean) {
    this.#rules = new Map(rules.map((rule) => [rule.type, rule]));
    this.#littleEndianCode = littleEndianCode;
  }

  rule(type: number): RelocationRule | undefined {
    return this.#rules.get(type);
  }

  width(type: number): number | undefined {
    return this.#rules.get(type)?.width;
  }

  isPcRelative(type: number): boolean {
    return this.#rules.get(type)?.kind !== undefined;
  }

  /** Bytes with a one wherever the relocation fills a bit. */
  mask(type: number, littleEndian: boolean): Uint8Array | undefined {
    const rule = this.#rules.get(type);
    if (rule === undefined || rule.width === 0) return undefined;
    const little = this.#littleEndianCode ?? littleEndian;
    const key = `${type} ${little}`;
    let mask = this.#masks.get(key);
    if (mask === undefined) {
      mask = maskOf(rule, little);
      this.#masks.set(key, mask);
    }
    return mask;
  }
}

function maskOf({ width, bits }: RelocationRule, littleEndian: boolean): Uint8Array {
  const mask = new Uint8Array(width).fill(0xff);
  if (bits === undefined) return mask;
  const view = new DataView(mask.buffer);
  const size = width / bits.length;
  bits.forEach((word, at) => {
    if (size === 2) view.setUint16(at * size, word, littleEndian);
    else view.setUint32(at * size, word, littleEndian);
  });
  return mask;
}
