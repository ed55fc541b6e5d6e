import type { Warning } from "../build/warnings/find-warnings.ts";
import { counted } from "../support/counted.ts";
import type { Attention, SectionId, Verdict } from "./report-types.ts";

/** Who decides about each kind of warning, and where the page shows what it is about. */
const askedBy: Readonly<Record<Warning["code"], { readonly who: Attention["who"]; readonly section: SectionId }>> = {
  ALWAYS_ON_STACK: { who: "operator", section: "functions" },
  NOTRACE_CALLER: { who: "reviewer", section: "graph" },
  LOCKS_CHANGED: { who: "reviewer", section: "state" },
  NEW_STATE: { who: "author", section: "state" },
  OLD_STATE: { who: "author", section: "state" },
  CONSTANT_CHANGED: { who: "author", section: "patch" },
  INLINED: { who: "reviewer", section: "functions" },
  ADDRESS_KEPT: { who: "operator", section: "module" },
  GONE_CALLBACK: { who: "author", section: "functions" },
  MODULE_RELOAD: { who: "operator", section: "module" },
};

/** What attention depends on besides the verdict. */
export interface AttentionFacts
  extends Pick<Verdict, "outcome" | "file" | "refusals" | "warnings" | "trial" | "adapted"> {
  /** Undefined when there is no module. */
  readonly signed: boolean | undefined;
  readonly keptAddresses: number;
  /** Why the proof was not repeated. */
  readonly unchecked?: string | undefined;
  readonly allowedLayouts: readonly string[];
  /** False when the compiler is not the kernel's; undefined when it was not asked. */
  readonly sameCompiler: boolean | undefined;
}

/** Who has to look at what, the most urgent first. */
export function attentionOf(facts: AttentionFacts): Attention[] {
  const { outcome, refusals, warnings, adapted } = facts;
  const list: Attention[] = [];
  const add = (who: Attention["who"], section: SectionId, what: string): void => void list.push({ who, section, what });
  if (refusals.length > 0) add("author", "verdict", `${counted(refusals.length, "refusal")}: change the patch`);
  if (outcome === "failed") add("operator", "verdict", "the module does not fit this kernel: do not load it");
  if (outcome === "unchecked")
    add(
      "reviewer",
      "proof",
      `the proof was not repeated${facts.unchecked === undefined ? "" : `: ${facts.unchecked}`}`,
    );
  if (facts.file === "unsealed")
    add(
      "reviewer",
      "module",
      "nothing shows whether the file is as it was built: build it again, or compare its digest",
    );
  if (facts.trial === "failed") add("author", "trial", "the trial failed: find out why before anything else");
  for (const { code, function: name, why } of warnings) {
    const { who, section } = askedBy[code];
    add(who, section, `${name}: ${why}`);
  }
  for (const assumption of adapted?.assumptions ?? [])
    add("author", "types", `the adapted patch rests on: ${assumption}`);
  for (const name of facts.allowedLayouts)
    add("reviewer", "types", `the changed layout of ${name} was accepted by hand`);
  if (facts.keptAddresses > 0 && !warnings.some(({ code }) => code === "ADDRESS_KEPT"))
    add(
      "operator",
      "module",
      `${facts.keptAddresses === 1 ? "1 address" : `${facts.keptAddresses} addresses`} of the module may be kept: it stays in memory`,
    );
  if (facts.sameCompiler === false)
    add("reviewer", "repeat", "the compiler is not the one that built the kernel: only the proof speaks for the code");
  if (facts.signed !== undefined && facts.trial === "none")
    add("operator", "trial", "the module was not tried: kmend try runs it in a virtual machine");
  if (facts.signed === false)
    add("operator", "module", "the module is not signed: kernels that ask for signatures refuse it");
  return list;
}
