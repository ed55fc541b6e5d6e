import { type AlignedInstruction, alignInstructions, instructionsOf } from "../build/explain/explain.ts";
import type { UnitPlan } from "../build/resolve/plan.ts";
import type { FunctionChange } from "../diff/changes.ts";
import type { CodeLine, CodeView } from "./report-types.ts";

/** Both codes of a function beside each other; that of a new one has an empty side. */
export async function codeViewOf(
  {
    original,
    patched: atom,
  }: { readonly original: FunctionChange["original"]; readonly patched: FunctionChange["atom"] },
  plan: UnitPlan,
): Promise<CodeView> {
  await plan.patched.arch.loadDisassembler();
  const [left, right] = await Promise.all([
    instructionsOf(plan.original, original, plan.pair.originalPath ?? plan.pair.patchedPath),
    instructionsOf(plan.patched, atom, plan.pair.patchedPath),
  ]);
  const rows = alignInstructions(left, right).map((row) => ({
    shipped: codeLineOf(row.original),
    patched: codeLineOf(row.patched),
    differs: row.difference === "changed",
  }));
  return { rows, differing: rows.filter(({ differs }) => differs).length };
}

/** An instruction as the report shows it. */
export function codeLineOf(instruction: AlignedInstruction | null): CodeLine | null {
  if (instruction === null) return null;
  const { shown, jump } = instruction;
  return { at: shown.offset, text: shown.text, names: shown.symbols, line: shown.line, jump };
}
