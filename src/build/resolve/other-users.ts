import { readFile } from "node:fs/promises";
import { Binding, SpecialSection } from "../../elf/constants.ts";
import type { ElfSymbol } from "../../elf/model.ts";
import { ElfReader, isDefined } from "../../elf/reader.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { BuildContext } from "../build-context.ts";
import type { UnitPair } from "../pairs/unit-pairs.ts";
import { compileUnpatched, sourcesWith } from "../pairs/unpatched-units.ts";
import type { LostDefinition } from "./global-definitions.ts";

/** How many source files that name a lost definition are compiled before giving up. */
const limit = 24;

/** A unit of the kernel as it is with the patch. */
interface OtherUnit {
  readonly source: string;
  readonly file: Uint8Array;
  readonly objects: readonly string[];
}

/**
 * Refuses a definition that goes away while other units use it, or have a weak one that would be in force then: the symbol tables of the patched units tell,
 * and those of the files that name it, which are compiled.
 * @param files paths of the files that the patch changes.
 */
export async function refuseLost(
  lost: readonly LostDefinition[],
  pairs: readonly UnitPair[],
  files: readonly string[],
  symvers: ExportedSymbols,
  context: BuildContext,
): Promise<Refusal[]> {
  const refusals = new Map<LostDefinition, Refusal>();
  if (lost.length === 0) return [];
  const look = (unit: OtherUnit): void => {
    const { symbols } = new ElfReader(unit.file);
    for (const one of lost) {
      const problem = refusals.has(one) ? undefined : problemOf(one, unit, symbols, symvers);
      if (problem !== undefined) refusals.set(one, problem);
    }
  };
  for (const { source, object, patchedPath } of pairs)
    look({ source, objects: [object], file: await readFile(patchedPath) });
  const touched = new Set([...files, ...pairs.map(({ source }) => source)]);
  const pattern = [...new Set(lost.map(({ definition }) => definition.name))].join("|");
  const sources = (await sourcesWith(`(${pattern})`, context, ["-w"])).filter((source) => !touched.has(source));
  for (const source of sources.slice(0, limit)) {
    const unit = await compileUnpatched(source, context);
    if (unit !== undefined) look({ source, ...unit });
  }
  return [...refusals.values()];
}

function problemOf(
  one: LostDefinition,
  { source, objects }: OtherUnit,
  symbols: readonly ElfSymbol[],
  symvers: ExportedSymbols,
): Refusal | undefined {
  const { plan, definition, isStatic } = one;
  const { object } = plan.pair;
  const isInside = objects.includes(object);
  if (!isInside && symvers.get(definition.name)?.owner !== object) return undefined;
  const symbol = symbols.find(({ name, binding }) => name === definition.name && binding !== Binding.local);
  if (symbol === undefined) return undefined;
  if (symbol.section === SpecialSection.undef && symbol.binding !== Binding.weak) {
    const problem = `the patch takes it from ${isStatic ? "other units" : "the kernel"}, and ${source} uses it`;
    return changed(one, problem, "leave it as it is, or change its users in the patch too");
  }
  if (!isInside || !isDefined(symbol) || definition.isWeak) return undefined;
  const problem = `without it the weak one of ${source} is in use, and the callers in the running kernel continue to call the strong one`;
  return changed(one, problem, "leave the definition, and change what it does");
}

function changed({ plan, definition }: LostDefinition, problem: string, advice: string): Refusal {
  return refuse("DEFINITION_CHANGED", definition.name, plan.pair.source, { problem, advice });
}
