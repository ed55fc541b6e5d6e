import { KmendError } from "../../support/errors.ts";

/** Kinds of BTF types (Documentation/bpf/btf.rst, "Type Encoding"; include/uapi/linux/btf.h, Linux 6.12). */
export const BtfKind = {
  void: 0,
  int: 1,
  ptr: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  fwd: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  funcProto: 13,
  var: 14,
  datasec: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;
export type BtfKind = (typeof BtfKind)[keyof typeof BtfKind];

/** Bytes that follow the 12 common ones of each kind: a fixed number, and a number for each of the `vlen` entries. */
export const tailSizes: Readonly<Record<number, readonly [fixed: number, perEntry: number]>> = {
  [BtfKind.int]: [4, 0],
  [BtfKind.ptr]: [0, 0],
  [BtfKind.array]: [12, 0],
  [BtfKind.struct]: [0, 12],
  [BtfKind.union]: [0, 12],
  [BtfKind.enum]: [0, 8],
  [BtfKind.fwd]: [0, 0],
  [BtfKind.typedef]: [0, 0],
  [BtfKind.volatile]: [0, 0],
  [BtfKind.const]: [0, 0],
  [BtfKind.restrict]: [0, 0],
  [BtfKind.func]: [0, 0],
  [BtfKind.funcProto]: [0, 8],
  [BtfKind.var]: [4, 0],
  [BtfKind.datasec]: [0, 12],
  [BtfKind.float]: [0, 0],
  [BtfKind.declTag]: [4, 0],
  [BtfKind.typeTag]: [0, 0],
  [BtfKind.enum64]: [0, 12],
};

/** Bits of the encoding of a BTF_KIND_INT. */
export const IntEncoding = { signed: 1, char: 2, bool: 4 } as const;

/** First two bytes of a BTF header, in the byte order of the data. */
export const btfMagic = 0xeb9f;

/** Malformed BTF: what is wrong, and at which byte of which data. */
export class BtfFormatError extends KmendError {
  /** Byte offset in the data. */
  readonly offset: number;

  constructor(message: string, source: string, offset: number, value?: number) {
    super({
      code: "BTF_FORMAT",
      message: `malformed BTF: ${message}${value === undefined ? "" : ` (value ${value})`}`,
      where: `${source}, offset 0x${offset.toString(16)}`,
      why: "the type information is damaged, truncated, or of a newer format than kmend knows",
      hint: "fetch the kernel image again; for a compiled unit check that pahole --version is at least 1.22",
    });
    this.name = "BtfFormatError";
    this.offset = offset;
  }
}
