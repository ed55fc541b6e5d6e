import { type AlignedInstruction, alignInstructions, instructionsOf } from "../build/explain/explain.ts";
import type { UnitPlan } from "../build/resolve/plan.ts";
import type { FunctionChange } from "../diff/changes.ts";
import type { CodeLine, CodeView } from "./report-types.ts";
import type { SourceTexts } from "./source-texts.ts";

/** Both codes of a function of a build beside each other, with the lines of the source; that of a new one has an empty side. */
export async function codeViewOf(
  { original, atom }: Pick<FunctionChange, "original" | "atom">,
  plan: UnitPlan,
  texts: SourceTexts,
): Promise<CodeView> {
  await plan.patched.arch.loadDisassembler();
  const [left, right] = await Promise.all([
    instructionsOf(plan.original, original, plan.pair.originalPath ?? plan.pair.patchedPath),
    instructionsOf(plan.patched, atom, plan.pair.patchedPath),
  ]);
  const aligned = alignInstructions(left, right);
  const { rows, differing } = rowsOf(aligned);
  const sourced = rows.map((row, index) => {
    const { original: before, patched: after } = aligned[index] as (typeof aligned)[number];
    return { ...row, from: (after ?? before)?.source };
  });
  return { rows: await texts.withSources(sourced, original === undefined), differing };
}

/** Two codes beside each other, of which no line of the source is known. */
export function codeViewOfLines(left: readonly AlignedInstruction[], right: readonly AlignedInstruction[]): CodeView {
  return rowsOf(alignInstructions(left, right));
}

function rowsOf(aligned: ReturnType<typeof alignInstructions>): CodeView {
  const rows = aligned.map(({ original, patched, difference }) => ({
    shipped: lineOf(original),
    patched: lineOf(patched),
    differs: difference === "changed",
  }));
  return { rows, differing: rows.filter(({ differs }) => differs).length };
}

function lineOf(instruction: AlignedInstruction | null): CodeLine | null {
  if (instruction === null) return null;
  const { shown, jump } = instruction;
  return { at: shown.offset, text: shown.text, names: shown.symbols, jump };
}
