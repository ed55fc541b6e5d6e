import type { Correlation } from "../correlate.ts";
import type { Selection } from "../select.ts";
import type { UnitObject } from "../unit-object.ts";

/** Both builds of a unit, and what was found of them. */
export interface ComparedUnit {
  readonly original: UnitObject;
  readonly patched: UnitObject;
  readonly correlation: Correlation;
  readonly selection: Selection;
  /** For messages. */
  readonly pair: { readonly source: string; readonly object: string };
}
