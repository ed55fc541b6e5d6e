/** Tags of DWARF 5, 7.5.3, as far as they matter here. */
export const DebugTag = {
  array: 0x01,
  enumeration: 0x04,
  formalParameter: 0x05,
  member: 0x0d,
  pointer: 0x0f,
  structure: 0x13,
  subroutineType: 0x15,
  typedef: 0x16,
  union: 0x17,
  unspecifiedParameters: 0x18,
  inlinedSubroutine: 0x1d,
  subrange: 0x21,
  base: 0x24,
  const: 0x26,
  enumerator: 0x28,
  subprogram: 0x2e,
  variable: 0x34,
  volatile: 0x35,
  restrict: 0x37,
  atomic: 0x47,
} as const;

/** One debugging information entry. */
export interface DebugEntry {
  /** Offset in `.debug_info`. */
  readonly offset: number;
  readonly tag: number;
  readonly parent: DebugEntry | undefined;
  readonly children: DebugEntry[];
  name: string;
  /** Offsets of entries. */
  type: number | undefined;
  /** DW_AT_abstract_origin or DW_AT_specification. */
  origin: number | undefined;
  size: number | undefined;
  /** DW_AT_upper_bound or DW_AT_count − 1; undefined when it is not a constant. */
  upperBound: number | undefined;
  encoding: number | undefined;
  /** DW_AT_data_member_location: bytes from the start of the struct; undefined in unions, and for bit fields. */
  memberOffset: number | undefined;
  /** DW_AT_data_bit_offset, or DW_AT_bit_offset of DWARF 3: only bit fields have one. */
  bitOffset: number | undefined;
  /** True when the location is an address, so that the thing keeps its place; false on the stack and in registers. */
  isStatic: boolean;
  /** Offset in `.debug_info` of that address, which a relocation fills; undefined when it stands in `.debug_addr`. */
  addressAt: number | undefined;
  isDeclaration: boolean;
  /** Line of the declaration. */
  line: number | undefined;
}
