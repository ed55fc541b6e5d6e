import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { formatAddress } from "../../src/elf/bytes.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { atom } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";
import { linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

const source = `
  static int counter;
  static const int squares[] = { 0, 1, 4, 9 };
  static noinline int helper(int x) { counter += x; return squares[x & 3]; }
  int visible(int x) { printk("number %d\\n", x); return helper(x) + take(x); }
`;

test("the record of a function has each masked place, the address that the kernel holds there, and how it was confirmed", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const unit = await readUnitObject(compileC(source));
  const visible = atom(unit, "visible");
  const record = await (await matchUnit(unit, target)).recordOf(visible);
  expect(record?.method).toBe("bytes");
  expect(record?.address).toBe(formatAddress(target.addressOf("visible")));
  expect(record?.bytes).toBe(visible.end - visible.start);
  expect(record?.masked.map(({ offset }) => offset)).toEqual(visible.references.map(({ offset }) => offset));
  const places = new Map(record?.masked.map((place) => [place.symbol, place]));
  for (const name of ["printk", "take", "helper"])
    expect(places.get(name)).toMatchObject({
      width: 4,
      address: formatAddress(target.addressOf(name)),
      confirmed: "symbol",
    });
  // A text has no symbol: its bytes are compared where the code points.
  expect(places.get('"number %d\\n"')).toMatchObject({ confirmed: "content" });
  expect(record?.content).toContainEqual({ name: '"number %d\\n"', bytes: 11 });
});

test("data that the code reads is part of the record, and what is not matched has none", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const unit = await readUnitObject(compileC(source));
  const helper = atom(unit, "helper");
  const record = await (await matchUnit(unit, target)).recordOf(helper);
  expect(record?.content.map(({ name, bytes }) => [name, bytes])).toContainEqual(["squares", 16]);
  const changed = target.with(target.addressOf("helper") + helper.bytes.length - 1, [0x90]);
  expect(await (await matchUnit(unit, changed)).recordOf(helper)).toBeUndefined();
});
