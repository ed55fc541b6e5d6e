import { Binding, SpecialSection } from "../elf/constants.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { type Refusal, refuse } from "../support/refusals.ts";
import type { ExportedSymbols } from "../target/symvers.ts";
import type { LostDefinition } from "./global-definitions.ts";
import { compileUnpatched, sourcesWith } from "./unpatched-units.ts";
import type { Workshop } from "./workshop.ts";

/** How many source files that name a lost definition are compiled before giving up. */
const limit = 24;

/**
 * Refuses a definition that goes away while units that the patch does not touch use it, or have a weak one that would be in force then: the files that name
 * it are compiled, and their symbol tables tell.
 * @param touched source files that the patch touches.
 */
export async function refuseLost(
  lost: readonly LostDefinition[],
  touched: ReadonlySet<string>,
  symvers: ExportedSymbols,
  workshop: Workshop,
): Promise<Refusal[]> {
  if (lost.length === 0) return [];
  const names = lost.map(({ definition }) => definition.name);
  const pattern = [...new Set(names)].join("|");
  const sources = (await sourcesWith(`(${pattern})`, workshop, ["-w"])).filter((source) => !touched.has(source));
  const refusals = new Map<LostDefinition, Refusal>();
  for (const source of sources.slice(0, limit)) {
    const unit = await compileUnpatched(source, workshop);
    if (unit === undefined) continue;
    const { symbols } = new ElfReader(unit.file);
    for (const one of lost) {
      const { plan, definition } = one;
      const { object } = plan.pair;
      if (refusals.has(one)) continue;
      const symbol = symbols.find(({ name, binding }) => name === definition.name && binding !== Binding.local);
      const isInside = unit.objects.includes(object);
      if (symbol === undefined || (!isInside && symvers.get(definition.name)?.owner !== object)) continue;
      if (symbol.section === SpecialSection.undef && symbol.binding !== Binding.weak) {
        const problem = `the patch takes it from ${one.isStatic ? "other units" : "the kernel"}, and ${source} uses it`;
        refusals.set(one, changed(one, problem, "leave it as it is, or change its users in the patch too"));
      } else if (isInside && isDefined(symbol) && !definition.isWeak) {
        const problem = `without it the weak one of ${source} is in force, and the callers in the running kernel go on calling the strong one`;
        refusals.set(one, changed(one, problem, "leave the definition, and change what it does"));
      }
    }
  }
  return [...refusals.values()];
}

function changed({ plan, definition }: LostDefinition, problem: string, advice: string): Refusal {
  return refuse("DEFINITION_CHANGED", definition.name, plan.pair.source, { problem, advice });
}
