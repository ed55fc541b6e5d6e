import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TypePairs } from "../../src/diff/layout/same-types.ts";
import { structChange } from "../../src/diff/layout/struct-change.ts";
import { tableOfTypes } from "../../src/diff/layout/type-table.ts";
import { declaration } from "../../src/diff/layout/type-text.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfFormatError, BtfKind, IntEncoding } from "../../src/kernel/types/btf-format.ts";
import { type EncodedType, encodeBtf } from "./btf-encoder.ts";

const int = (bits: number, encoding: number, offset = 0): number => (encoding << 24) | (offset << 16) | bits;

/** One of every kind; the comments give their numbers. */
const everyKind: readonly EncodedType[] = [
  { kind: BtfKind.int, name: "int", word: 4, tail: [[int(32, IntEncoding.signed)]] }, // 1
  { kind: BtfKind.ptr, word: 1 }, // 2
  { kind: BtfKind.array, tail: [[1, 1, 7]] }, // 3
  {
    kind: BtfKind.struct,
    name: "pair",
    flag: true,
    word: 16,
    tail: [
      ["low", 1, (3 << 24) | 0],
      ["high", 1, (29 << 24) | 3],
      ["next", 2, 64],
    ],
  }, // 4
  {
    kind: BtfKind.union,
    name: "either",
    word: 28,
    tail: [
      ["one", 1, 0],
      ["all", 3, 0],
    ],
  }, // 5
  {
    kind: BtfKind.enum,
    name: "colour",
    flag: true,
    word: 4,
    tail: [
      ["RED", -1],
      ["BLUE", 7],
    ],
  }, // 6
  { kind: BtfKind.fwd, name: "hidden" }, // 7
  { kind: BtfKind.typedef, name: "number_t", word: 9 }, // 8
  { kind: BtfKind.volatile, word: 10 }, // 9
  { kind: BtfKind.const, word: 1 }, // 10
  { kind: BtfKind.restrict, word: 2 }, // 11
  { kind: BtfKind.func, name: "run", word: 13, count: 1 }, // 12
  {
    kind: BtfKind.funcProto,
    word: 1,
    tail: [
      ["first", 2],
      ["", 0],
    ],
  }, // 13
  { kind: BtfKind.var, name: "counter", word: 1, tail: [[1]] }, // 14
  { kind: BtfKind.datasec, name: ".data..percpu", word: 8, tail: [[14, 0, 4]] }, // 15
  { kind: BtfKind.float, name: "double", word: 8 }, // 16
  { kind: BtfKind.declTag, name: "tagged", word: 4, tail: [[-1]] }, // 17
  { kind: BtfKind.typeTag, name: "user", word: 1 }, // 18
  {
    kind: BtfKind.enum64,
    name: "wide",
    word: 8,
    tail: [
      ["SMALL", 1, 0],
      ["LARGE", 0xffff_ffff, 0x7fff_ffff],
    ],
  }, // 19
];

describe.each([
  ["little-endian", true],
  ["big-endian", false],
])("%s data", (_, littleEndian) => {
  const btf = new Btf(encodeBtf(everyKind, littleEndian), "test");

  test("has every kind", () => {
    expect(btf.count).toBe(20);
    expect(everyKind.map((_type, index) => btf.kind(index + 1))).toEqual(everyKind.map(({ kind }) => kind));
    expect(everyKind.map((_type, index) => btf.name(index + 1))).toEqual(everyKind.map(({ name = "" }) => name));
    expect([btf.kind(0), btf.name(0)]).toEqual([BtfKind.void, "void"]);
  });

  test("gives what belongs to a kind", () => {
    expect([btf.size(1), btf.int(1)]).toEqual([4, { bits: 32, offset: 0, encoding: IntEncoding.signed }]);
    expect([btf.target(2), btf.array(3)]).toEqual([1, { element: 1, length: 7 }]);
    expect(btf.members(4)).toEqual([
      { name: "low", type: 1, offset: 0, width: 3 },
      { name: "high", type: 1, offset: 3, width: 29 },
      { name: "next", type: 2, offset: 64, width: 0 },
    ]);
    expect(btf.members(5).map(({ offset, width }) => [offset, width])).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(btf.enumerators(6)).toEqual([
      { name: "RED", value: -1n },
      { name: "BLUE", value: 7n },
    ]);
    expect(btf.enumerators(19)).toEqual([
      { name: "SMALL", value: 1n },
      { name: "LARGE", value: 0x7fff_ffff_ffff_ffffn },
    ]);
    expect(btf.parameters(13)).toEqual([
      { name: "first", type: 2 },
      { name: "", type: 0 },
    ]);
    expect([btf.resolve(8), btf.resolve(18), btf.resolve(2)]).toEqual([1, 1, 2]);
    expect(declaration(btf, 13, "run")).toBe("int run(int *, ...)");
  });

  test("is found by kind and name", () => {
    expect(btf.find(BtfKind.struct, "pair")).toEqual([4]);
    expect(btf.find(BtfKind.union, "pair")).toEqual([]);
    expect(btf.find(BtfKind.struct, "pai")).toEqual([]);
    expect(btf.find(BtfKind.struct, "")).toEqual([]);
  });
});

test("bit fields of old encoders have their width in the type", () => {
  const btf = new Btf(
    encodeBtf([
      { kind: BtfKind.int, name: "int", word: 4, tail: [[int(5, IntEncoding.signed, 3)]] },
      { kind: BtfKind.struct, name: "old", word: 4, tail: [["flags", 1, 8]] },
    ]),
    "test",
  );
  expect(btf.members(2)).toEqual([{ name: "flags", type: 1, offset: 11, width: 5 }]);
});

test("types of a module stand on those of the kernel", () => {
  const encoded = encodeBtf(everyKind);
  const base = new Btf(encoded, "vmlinux");
  const strings = encoded.subarray(24 + encoded.readUInt32LE(12));
  const known = { pair: strings.indexOf("\0pair\0") + 1 };
  const module = new Btf(
    encodeBtf(
      [
        { kind: BtfKind.ptr, word: 4 },
        { kind: BtfKind.struct, name: "own", word: 8, tail: [["pair", 20, 0]] },
        { kind: BtfKind.struct, name: "pair", word: 0 },
      ],
      true,
      { stringEnd: base.stringEnd, known },
    ),
    "module",
    base,
  );
  expect([module.first, module.count]).toEqual([20, 23]);
  expect(module.find(BtfKind.struct, "own")).toEqual([21]);
  expect(module.find(BtfKind.struct, "pair")).toEqual([4, 22]);
  expect(declaration(module, module.members(21)[0]?.type ?? 0, "p")).toBe("struct pair *p");
  expect([module.name(6), module.enumerators(6)[1]?.value, module.size(5)]).toEqual(["colour", 7n, 28]);
});

describe("damaged data", () => {
  const good = encodeBtf(everyKind);
  const damaged = (change: (bytes: Buffer) => void): (() => Btf) => {
    const bytes = Buffer.from(good);
    change(bytes);
    return () => new Btf(bytes, "vmlinux");
  };

  test.each<[string, (bytes: Buffer) => void, string, number]>([
    ["another magic", (bytes) => bytes.writeUInt16LE(0x1234, 0), "no BTF magic", 0],
    ["another version", (bytes) => bytes.writeUInt8(9, 2), "unknown version", 2],
    ["an absurd header", (bytes) => bytes.writeUInt32LE(8, 4), "header of unexpected size", 4],
    ["types beyond the end", (bytes) => bytes.writeUInt32LE(1 << 30, 12), "types beyond the end", 12],
    ["strings beyond the end", (bytes) => bytes.writeUInt32LE(1 << 30, 20), "strings beyond the end", 20],
    ["an unknown kind", (bytes) => bytes.writeUInt32LE(30 << 24, 28), "unknown kind", 28],
    ["a type cut off", (bytes) => bytes.writeUInt32LE((4 << 24) | 0xffff, 28), "a type runs beyond", 24],
  ])("with %s tells where", (_, change, message, offset) => {
    expect(damaged(change)).toThrow(
      expect.objectContaining({ code: "BTF_FORMAT", offset, message: expect.stringContaining(message) }),
    );
  });

  test("that is too short or empty is no crash", () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => new Btf(good.subarray(0, length), "vmlinux")).toThrow(BtfFormatError);
    }
  });

  test("with typedefs or unnamed structs in a circle ends", () => {
    const circle = new Btf(encodeBtf([{ kind: BtfKind.typedef, name: "a", word: 1 }]), "test");
    expect(() => circle.resolve(1)).toThrow("in a circle");
    const nested = new Btf(encodeBtf([{ kind: BtfKind.struct, word: 4, tail: [["", 1, 0]] }]), "test");
    expect(() => structChange(new TypePairs(nested, nested), 1, 1, ["a", "b"])).toThrow("without an end");
  });

  test("never crashes the reader or the comparison", () => {
    const original = new Btf(good, "original");
    const anyDamage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(anyDamage, (damage) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of damage) bytes[at] = value;
        try {
          useAll(original, new Btf(bytes, "damaged"));
        } catch (error) {
          expect(error).toBeInstanceOf(BtfFormatError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

/** Everything that the layout guard does with types. */
function useAll(a: Btf, b: Btf): void {
  const pairs = new TypePairs(a, b);
  tableOfTypes(b);
  for (let type = 0; type < b.count; type++) {
    b.name(type);
    declaration(b, type, "name");
    pairs.sameType(Math.min(type, a.count - 1), type);
    const kind = b.kind(type);
    if (kind === BtfKind.enum || kind === BtfKind.enum64) b.enumerators(type);
    if (kind === BtfKind.struct || kind === BtfKind.union) structChange(pairs, 4, type, ["a", "b"]);
    if (kind === BtfKind.funcProto) pairs.samePrototype(13, type);
  }
}
