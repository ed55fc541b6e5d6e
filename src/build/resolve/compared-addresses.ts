import type { Atom } from "../../diff/atoms.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { type Refusal, refuse } from "../../support/refusals.ts";
import type { UnitPlan } from "./plan.ts";

/**
 * Refuses a changed constant whose address carried code compares with something: the module has a copy at another address, and what was set up with the
 * kernel's own (`file->f_op == &ops`) is no longer recognised, nor is what was set up with the copy once the patch is disabled.
 */
export function refuseComparedCopies({ patched, correlation, selection, pair }: UnitPlan): Refusal[] {
  const copies = new Set(
    selection.atoms.filter(
      (atom) => atom.kind === "rodata" && atom.symbol !== undefined && correlation.originalOf.has(atom),
    ),
  );
  if (copies.size === 0) return [];
  const found = new Map<Atom, string>();
  for (const user of selection.atoms) {
    if (user.kind !== "function") continue;
    for (const copy of comparedBy(user, patched, copies)) if (!found.has(copy)) found.set(copy, user.name);
  }
  return [...found].map(([copy, user]) =>
    refuse("ADDRESS_COMPARED", copy.base, { unit: pair.source, object: pair.object, function: user }, { user }),
  );
}

/** How many instructions behind the one that loads an address a comparison of the register is looked for. */
const reach = 24;

function comparedBy(user: Atom, { arch }: UnitObject, copies: ReadonlySet<Atom>): Atom[] {
  const references = user.references.filter(({ target }) => target.kind === "atom" && copies.has(target.atom));
  const code = references.length === 0 ? undefined : arch.dataFlow?.read(user.bytes, 0);
  if (code === undefined) return [];
  return references.flatMap(({ offset, target }) => {
    const at = code.findIndex((each) => offset >= each.offset && offset < each.offset + each.length);
    const instruction = code[at];
    if (instruction === undefined || target.kind !== "atom") return [];
    if (comparisonOf(user.bytes.subarray(instruction.offset, instruction.offset + instruction.length)) === "number")
      return [target.atom];
    const { effect } = instruction;
    if (effect?.kind !== "move" && effect?.kind !== "address") return [];
    for (const next of code.slice(at + 1, at + 1 + reach)) {
      const bytes = user.bytes.subarray(next.offset, next.offset + next.length);
      const registers = comparisonOf(bytes);
      if (Array.isArray(registers) && registers.includes(registerNumber(effect.to))) return [target.atom];
      if (next.writes.includes(effect.to)) break;
    }
    return [];
  });
}

/**
 * What an x86-64 `cmp` compares (Intel SDM, volume 2, CMP): with a number, or the numbers of the registers that hold what is compared; undefined for other
 * instructions.
 */
function comparisonOf(bytes: Uint8Array): "number" | number[] | undefined {
  let at = 0;
  while ([0x66, 0x65, 0x64, 0x2e].includes(bytes[at] ?? 0)) at++;
  const rex = (bytes[at] ?? 0) >> 4 === 4 ? (bytes[at++] as number) : 0;
  const opcode = bytes[at];
  const modrm = bytes[at + 1] ?? 0;
  if (opcode === 0x3d || (opcode === 0x81 && ((modrm >> 3) & 7) === 7)) return "number";
  if (opcode !== 0x39 && opcode !== 0x3b) return undefined;
  const registers = [((modrm >> 3) & 7) | ((rex & 4) << 1)];
  if (modrm >> 6 === 3) registers.push((modrm & 7) | ((rex & 1) << 3));
  return registers;
}

const registerNames = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"];

function registerNumber(name: string): number {
  const number = /^R(\d+)$/.exec(name)?.[1];
  return number === undefined ? registerNames.indexOf(name) : Number(number);
}
