import { readUnitObject } from "../../diff/unit-object.ts";
import { matchUnit } from "../../match/match-unit.ts";
import type { TargetObject } from "../../match/target-object.ts";
import type { BuildContext } from "../build-context.ts";
import { compileUnpatched, sourcesWith } from "../pairs/unpatched-units.ts";
import type { Unresolved } from "./resolve.ts";

/** How many source files that may define a symbol are compiled before giving up. */
const definerLimit = 24;

/**
 * Settles which of several equally named symbols is the global one that new code means: the units that may define it are compiled unpatched and matched,
 * and the one that holds it as a global symbol tells its address.
 * @returns addresses by name; a name that stays open is missing.
 */
export async function settleAmbiguous(
  symbols: readonly Unresolved[],
  context: BuildContext,
  open: (object: string) => Promise<TargetObject>,
): Promise<Map<string, number>> {
  const settled = new Map<string, number>();
  for (const { name, object } of symbols) {
    if (settled.has(name)) continue;
    const target = await open(object);
    for (const source of await possibleDefiners(name, context)) {
      const compiled = await compileUnpatched(source, context);
      if (compiled === undefined) continue;
      const unit = await readUnitObject(compiled.file);
      const atom = unit.atoms.find((candidate) =>
        candidate.symbols.some((symbol) => symbol.name === name && symbol.binding !== 0),
      );
      if (atom === undefined) continue;
      const address = (await matchUnit(unit, target)).addressOf(atom);
      if (address !== undefined) settled.set(name, address);
      break;
    }
  }
  return settled;
}

/** Source files that have the name at the start of a line or behind a type, not followed by a call's semicolon: likely definitions first. */
async function possibleDefiners(name: string, context: BuildContext): Promise<string[]> {
  const pattern = `^[A-Za-z_][A-Za-z0-9_ \\t*]*\\b${name}[ \\t]*([(=\\[;]|__[a-z])|^${name}[ \\t]*\\(|DEFINE[A-Z_]*\\(([A-Za-z0-9_ *]*, *)?${name}\\b`;
  return (await sourcesWith(pattern, context)).slice(0, definerLimit);
}
