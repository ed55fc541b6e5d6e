import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { DataFlow, FlowInstruction } from "../arch/data-flow.ts";
import type { Atom } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import { type ComparedCopy, reach, takerBackOf } from "./compared-copy.ts";
import { comparedRegisters } from "./compared-registers.ts";
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
  const found = new Map<Atom, { readonly user: string; readonly by: string }>();
  for (const user of patched.atoms) {
    if (user.kind !== "function") continue;
    for (const { copy, by } of comparedBy(user, patched, copies))
      if (!found.has(copy)) found.set(copy, { user: user.name, by });
  }
  return [...found].map(([copy, { user, by }]) =>
    refuse("ADDRESS_COMPARED", nameOf(copy), { unit: pair.source, object: pair.object, function: user }, { user: by }),
  );
}

/** A text is called by what it says. */
function nameOf({ kind, base, bytes }: Atom): string {
  return kind === "string" ? JSON.stringify(Buffer.from(bytes).toString("latin1").replace(/\0+$/, "")) : base;
}

function comparedBy(user: Atom, unit: UnitObject, copies: ReadonlySet<Atom>): ComparedCopy[] {
  const { arch } = unit;
  if (arch.dataFlow === undefined) return comparedRegisters(user, unit, copies);
  const references = user.references.filter(({ target }) => target.kind === "atom" && copies.has(target.atom));
  if (references.length === 0) return [];
  const { dataFlow } = arch;
  const code = dataFlow.read(user.bytes, 0);
  const { scratch, parameters } = dataFlow.calls;
  return references.flatMap(({ offset, target }) => {
    const at = code.findIndex((each) => offset >= each.offset && offset < each.offset + each.length);
    const instruction = code[at];
    if (instruction === undefined || target.kind !== "atom") return [];
    // Within a text, code counts characters with a pointer that it made itself; a text is told by where it begins (four before it, relative to the next instruction).
    const isText = target.atom.kind === "string";
    if (isText && target.addend !== 0 && target.addend !== -4) return [];
    const comparisonOf = (one: FlowInstruction): ReturnType<DataFlow["compared"]> =>
      isText && one.writes.length > 0
        ? undefined
        : dataFlow.compared(user.bytes.subarray(one.offset, one.offset + one.length));
    // The number comes last; a place before it is that of what is read there.
    const isNumber = offset + 4 === instruction.offset + instruction.length;
    if (comparisonOf(instruction) === "number") return isNumber ? [{ copy: target.atom, by: user.name }] : [];
    const { effect } = instruction;
    if (effect?.kind !== "move" && effect?.kind !== "address") return [];
    // What is read from the constant is not its address.
    if (effect.kind === "move" && effect.from.kind === "memory") return [];
    const holders = new Set([effect.to]);
    for (const next of code.slice(at + 1, at + 1 + reach)) {
      const compared = comparisonOf(next);
      if (compared !== undefined && compared !== "number" && compared.some((register) => holders.has(register)))
        return [{ copy: target.atom, by: user.name }];
      const taker = parameters.some((register) => holders.has(register)) ? takerBackOf(user, next) : undefined;
      if (taker !== undefined && !isText) return [{ copy: target.atom, by: taker }];
      const copied =
        next.effect?.kind === "move" && next.effect.from.kind === "register" && holders.has(next.effect.from.register)
          ? next.effect.to
          : undefined;
      // What lies behind a jump is reached from elsewhere.
      if (["jump", "indirect jump", "return", "trap", "end"].includes(next.flow)) break;
      const isCall = next.flow === "call" || next.flow === "indirect call";
      for (const register of isCall ? scratch : next.writes) holders.delete(register);
      if (copied !== undefined) holders.add(copied);
      if (holders.size === 0) break;
    }
    return [];
  });
}
