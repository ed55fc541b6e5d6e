import { basename } from "node:path";
import type { Atom } from "../../diff/atoms.ts";
import type { FunctionChange } from "../../diff/changes.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { sourceLines } from "../../elf/line-table.ts";

/** `file.c:12` of the first difference of each changed function, where the patched object has line information. */
export function changedLines(patched: UnitObject, changes: Iterable<FunctionChange>): Map<Atom, string> {
  const places = [...changes].flatMap(({ atom, differsAt, original }) =>
    original === undefined || differsAt === undefined ? [] : [{ atom, offset: atom.start + differsAt }],
  );
  const found = sourceLines(
    patched.elf,
    places.map(({ atom, offset }) => ({ section: atom.section.index, offset })),
  );
  const lines = new Map<Atom, string>();
  places.forEach(({ atom }, at) => {
    const source = found[at];
    if (source !== undefined) lines.set(atom, `${basename(source.file)}:${source.line}`);
  });
  return lines;
}
