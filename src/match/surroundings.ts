import { tableRules } from "../diff/special-sections/special-sections.ts";
import type { PlaceValue, TargetEntry, TargetObject } from "./target-object.ts";

/**
 * What the target says about code beside its bytes, as text that is the same whenever it is read from the same file: relocations in it (a module's bytes
 * do not show what they refer to), and the entries of its tables, with the code that an alternative puts there.
 * @param address of the code. @param length bytes.
 */
export function surroundingsOf(target: TargetObject, address: number, length: number): string {
  const lines = (target.placesIn?.(address, length) ?? []).map(
    (place) => `${place - address} ${describeValue(valueIn(target, place))}`,
  );
  for (const rule of tableRules) {
    for (const entry of target.tableEntries?.(rule, undefined, address, address + length) ?? []) {
      const bytes = target.bytesAt(entry.at, entry.size) ?? new Uint8Array(0);
      const places = target.placesIn?.(entry.at, entry.size) ?? [];
      const fields = places.map((place) => `${place - entry.at} ${describeValue(valueIn(target, place))}`);
      const replacement =
        rule.replacementLength === undefined
          ? []
          : replacing(target, entry, bytes[rule.replacementLength(entry.size)] ?? 0);
      lines.push([rule.table, entry.place - address, hex(bytes), ...fields, ...replacement].join(" "));
    }
  }
  return lines.join("\n");
}

/** The second field of an alternative is the distance to what replaces it. */
function replacing(target: TargetObject, { at }: TargetEntry, length: number): string[] {
  const value = target.valueAt(at + 4, 4, true);
  if (value?.kind !== "address" || length === 0) return [];
  const places = target.placesIn?.(value.address, length) ?? [];
  return [
    hex(target.bytesAt(value.address, length) ?? new Uint8Array(0)),
    ...places.map((place) => `${place - value.address} ${describeValue(valueIn(target, place))}`),
  ];
}

/** The kind of a relocation is not asked for: only one of them fits. */
function valueIn(target: TargetObject, place: number): PlaceValue | undefined {
  for (const [width, isRelative] of [
    [8, false],
    [8, true],
    [4, true],
    [4, false],
  ] as const) {
    const value = target.bytesAt(place, width) === undefined ? undefined : target.valueAt(place, width, isRelative);
    if (value !== undefined) return value;
  }
  return undefined;
}

function describeValue(value: PlaceValue | undefined): string {
  if (value === undefined) return "?";
  if (value.kind === "external") return `${value.name}+${value.addend}`;
  return value.kind === "absolute" ? `=${value.value}` : `@${value.address}`;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
