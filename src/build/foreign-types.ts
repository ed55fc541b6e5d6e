import type { ChangeSet } from "../change/change-set.ts";
import { type ExchangedConstant, exchangedConstants } from "../change/exchanged-constants.ts";
import type { LayoutFindings } from "../diff/layout.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { sourceTree } from "../kernel/tree-kernel.ts";
import { refuse } from "../refusals/refusals.ts";
import type { BuildContext } from "./build-context.ts";
import type { BuildOptions } from "./build-types.ts";
import { checkUnitLayouts, type KernelTypes } from "./check-layouts.ts";
import type { UnitPair } from "./pairs/unit-pairs.ts";

/** What the types of a change are held against, and by whose word they belong to the kernel. */
export interface TypeQuestion {
  readonly kernel: TargetKernel;
  readonly options: BuildOptions;
  readonly change: ChangeSet;
  readonly types: KernelTypes;
  readonly context: BuildContext;
  /** False when the text of the change shows that it leaves all types as they are. */
  readonly isAboutTypes: boolean;
}

/**
 * True when nothing but the user says that source, configuration and image belong together: a type of the source may be another one than the kernel's,
 * also one that only the new code uses. The packages of a distribution are of one version.
 */
export function isFromElsewhere({ kernel, options }: Pick<TypeQuestion, "kernel" | "options">): boolean {
  return kernel.distribution === sourceTree || options.image !== undefined || options.rpms !== undefined;
}

/** Refuses constants that exchange their values, unless the user accepts that. */
export function checkConstants({ change, options }: Pick<TypeQuestion, "change" | "options">): LayoutFindings {
  const allowed = options.allowLayout ?? [];
  const found = exchangedConstants(change.files);
  const isAllowed = ({ name }: ExchangedConstant): boolean => allowed.includes("*") || allowed.includes(name);
  return {
    refusals: found
      .filter((constant) => !isAllowed(constant))
      .map(({ name, path, value, from }) => refuse("CONSTANT_EXCHANGED", name, path, { name, value, from })),
    notes: found
      .filter(isAllowed)
      .map(({ name, path, from }) => `${path}: ${name}: accepted as --allow-layout says: it gets the value of ${from}`),
  };
}

/** Compares the types of all units where that can show anything. */
export async function checkTypes(pairs: readonly UnitPair[], question: TypeQuestion): Promise<LayoutFindings> {
  const { change, types, context, options } = question;
  const allowed = options.allowLayout ?? [];
  if (question.isAboutTypes) return checkUnitLayouts(pairs, change, types, allowed, context);
  if (!isFromElsewhere(question) || (await types.of("vmlinux")) === undefined) return { refusals: [], notes: [] };
  const { refusals, notes } = await checkUnitLayouts(pairs, change, types, allowed, context);
  // A unit without debug information tells nothing here, and the change is not about types.
  return { refusals: refusals.filter(({ code }) => code !== "LAYOUT_UNKNOWN"), notes };
}
