import type { Refusal } from "../refusals/refusals.ts";
import type { Oracle, TextOverlay } from "./oracle.ts";

/** Something that the rewriting rests on, with the place that shows it. */
export interface Assumption {
  readonly what: string;
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** One thing that was rewritten. */
export interface RewrittenPart {
  readonly what: string;
  readonly how: string;
}

/** What becomes of the parts of a patch that change data. */
export interface Adaptation {
  /** All files of the adapted patch, those of the patch that stay as they are among them. */
  readonly files: TextOverlay;
  readonly parts: readonly RewrittenPart[];
  readonly assumptions: readonly Assumption[];
  readonly refusals: readonly Refusal[];
}

/** The compiler for the units that see a type, and what they belong to. */
export interface TypeUnits {
  readonly oracle: Oracle;
  /** `vmlinux` or the module of a unit, by its source file. */
  readonly objects: ReadonlyMap<string, string>;
}
