import type { UnitCommand } from "../../kernel/tree/unit-command.ts";
import type { Membership } from "../../kernel/tree/units.ts";

/** A unit of this kernel. */
export interface BuiltUnit {
  readonly source: string;
  readonly member: Exclude<Membership, { kind: "not-built" }>;
}

/** A unit that sees a changed file that it includes. */
export interface AffectedUnit extends BuiltUnit {
  /** Undefined where it is not known yet. */
  readonly command: UnitCommand | undefined;
}
