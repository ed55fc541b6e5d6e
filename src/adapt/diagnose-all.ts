import { mapConcurrently } from "../support/run.ts";
import type { Diagnostic } from "./diagnostics.ts";
import type { Oracle, TextOverlay } from "./oracle.ts";

/** What the compiler says of all units that see a type. */
export async function diagnoseAll(oracle: Oracle, files: TextOverlay): Promise<Diagnostic[]> {
  const found = await mapConcurrently(oracle.units, oracle.jobs, (unit) => oracle.diagnose(unit, files));
  return found.flat();
}
