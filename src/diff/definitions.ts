import { Binding } from "../elf/constants.ts";
import type { Atom } from "./atoms.ts";
import type { Correlation } from "./correlate.ts";
import { classOf } from "./special-sections/section-classes.ts";
import type { UnitObject } from "./unit-object.ts";

/** A symbol that other units may refer to. */
export interface Definition {
  readonly name: string;
  readonly atom: Atom;
  readonly isWeak: boolean;
}

/** What differs between the two builds of a unit in what it defines for others. */
export interface DefinitionChanges {
  /** Of the patched unit. A static that becomes global is among them; the correlation knows what it was. */
  readonly gained: readonly Definition[];
  /** Of the original unit; the correlation tells what has become static. */
  readonly lost: readonly Definition[];
  /** Of the patched unit: weak instead of strong, or the other way round. */
  readonly rebound: readonly Definition[];
  /** Names that both builds define. */
  readonly kept: ReadonlySet<string>;
}

/** Names that compilers and the kernel's macros make beside a definition, or for lists that have rules of their own (section-classes.ts). */
const notOfTheSource =
  /^(__pfx_|__cfi_|__kcfi_typeid_|__SCK__|__SCT__|__tracepoint_|__traceiter_|__probestub_|__ksymtab|__kstrtab|__export_symbol|__crc_|__UNIQUE_ID|__addressable_|__initcall|__mod_.*_device_table$)/;

/** Compares what the two builds of a unit define. */
export function compareDefinitions(original: UnitObject, patched: UnitObject): DefinitionChanges {
  const [before, after] = [definitionsOf(original), definitionsOf(patched)];
  const common = [...after.values()].filter(({ name }) => before.has(name));
  return {
    gained: [...after.values()].filter(({ name }) => !before.has(name)),
    lost: [...before.values()].filter(({ name }) => !after.has(name)),
    rebound: common.filter(({ name, isWeak }) => before.get(name)?.isWeak !== isWeak),
    kept: new Set(common.map(({ name }) => name)),
  };
}

function definitionsOf(unit: UnitObject): Map<string, Definition> {
  const found = new Map<string, Definition>();
  for (const atom of unit.atoms) {
    if (!/^(content|init)$/.test(classOf(atom.section))) continue;
    for (const { name, binding } of atom.symbols) {
      if (binding === Binding.local || notOfTheSource.test(name)) continue;
      found.set(name, { name, atom, isWeak: binding === Binding.weak });
    }
  }
  return found;
}

/** A definition that is in another unit with the patch. */
export interface Move {
  readonly name: string;
  /** In the original of the unit that had it. */
  readonly before: Atom;
  /** In the patched build of the unit that gets it. */
  readonly after: Atom;
}

/**
 * A correlation that knows what came from other units: moved definitions, and the statics that came with them. A static is taken for one that came along
 * when it is new here, gone there, and what has moved refers to both.
 * @param there correlations of the units that had the definitions.
 * @param shared names under which these units mean the same thing, whichever of them defines it.
 */
export function withMoves(
  here: Correlation,
  there: readonly Correlation[],
  moves: readonly Move[],
  shared: ReadonlySet<string>,
): Correlation {
  const patchedOf = new Map(here.patchedOf);
  const originalOf = new Map(here.originalOf);
  const lostData = new Map(here.lostData);
  const stays = (atom: Atom): boolean => patchedOf.has(atom) || there.some((other) => other.patchedOf.has(atom));
  const queue: [Atom, Atom][] = moves.map(({ before, after }) => [before, after]);
  for (let pair = queue.pop(); pair !== undefined; pair = queue.pop()) {
    const [before, after] = pair;
    if (patchedOf.has(before) || originalOf.has(after)) continue;
    patchedOf.set(before, after);
    originalOf.set(after, before);
    for (const [name, fresh] of staticsOf(after, (atom) => !originalOf.has(atom))) {
      const gone = staticsOf(before, (atom) => !stays(atom)).get(name) ?? [];
      if (fresh.length === 1 && gone.length === 1) queue.push([gone[0] as Atom, fresh[0] as Atom]);
      // Nothing shows which is which: a new variable of that name is refused.
      else if (gone[0] !== undefined) lostData.set(gone[0].base, gone);
    }
  }
  return { patchedOf, originalOf, lostData, shared };
}

/** Named static things that an atom refers to, by what they are and their name in the source. */
function staticsOf(user: Atom, isMeant: (atom: Atom) => boolean): Map<string, Atom[]> {
  const found = new Map<string, Atom[]>();
  for (const { target } of user.references) {
    if (target.kind !== "atom" || target.atom.symbol?.binding !== Binding.local || !isMeant(target.atom)) continue;
    const key = `${target.atom.kind === "function"} ${target.atom.base}`;
    const list = found.get(key) ?? [];
    if (!list.includes(target.atom)) found.set(key, [...list, target.atom]);
  }
  return found;
}
