import { type Refusal, refuse } from "../../support/refusals.ts";
import type { DataFlow, FlowInstruction } from "../arch/data-flow.ts";
import type { Atom } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import type { ComparedUnit } from "./compared-unit.ts";

/**
 * Refuses a constant of which the module has a copy, at another address, while a function of the unit compares something with its address: a changed table
 * (`file->f_op == &ops`), or the text that a pointer which never changes stands for (`if (zone->name != default_name) kfree(zone->name)`). What was set up
 * with the one is not recognised by code that knows the other, whether that code is carried or the kernel's own.
 */
export function refuseComparedCopies({ patched, correlation, selection, pair }: ComparedUnit): Refusal[] {
  const copies = new Set(
    selection.atoms.filter(
      (atom) =>
        atom.kind === "string" ||
        (atom.kind === "rodata" && atom.symbol !== undefined && correlation.originalOf.has(atom)),
    ),
  );
  if (copies.size === 0) return [];
  const found = new Map<Atom, string>();
  for (const user of patched.atoms) {
    if (user.kind !== "function") continue;
    for (const copy of comparedBy(user, patched, copies)) if (!found.has(copy)) found.set(copy, user.name);
  }
  return [...found].map(([copy, user]) =>
    refuse("ADDRESS_COMPARED", nameOf(copy), { unit: pair.source, object: pair.object, function: user }, { user }),
  );
}

/** A text is called by what it says. */
function nameOf({ kind, base, bytes }: Atom): string {
  return kind === "string" ? JSON.stringify(Buffer.from(bytes).toString("latin1").replace(/\0+$/, "")) : base;
}

/** How many instructions behind the one that loads an address a comparison of the register is looked for. */
const reach = 24;

function comparedBy(user: Atom, { arch }: UnitObject, copies: ReadonlySet<Atom>): Atom[] {
  const references = user.references.filter(({ target }) => target.kind === "atom" && copies.has(target.atom));
  const code = references.length === 0 ? undefined : arch.dataFlow?.read(user.bytes, 0);
  if (code === undefined) return [];
  const comparisonOf = ({ offset, length }: FlowInstruction): ReturnType<DataFlow["compared"]> =>
    arch.dataFlow?.compared(user.bytes.subarray(offset, offset + length));
  return references.flatMap(({ offset, target }) => {
    const at = code.findIndex((each) => offset >= each.offset && offset < each.offset + each.length);
    const instruction = code[at];
    if (instruction === undefined || target.kind !== "atom") return [];
    if (comparisonOf(instruction) === "number") return [target.atom];
    const { effect } = instruction;
    if (effect?.kind !== "move" && effect?.kind !== "address") return [];
    for (const next of code.slice(at + 1, at + 1 + reach)) {
      const compared = comparisonOf(next);
      if (compared !== undefined && compared !== "number" && compared.includes(effect.to)) return [target.atom];
      if (next.writes.includes(effect.to)) break;
    }
    return [];
  });
}
