import type { CveState, KernelCve } from "./kernel-cves.ts";

/** The stable `--json` of `kmend cves`. */
export interface CveCoverage {
  readonly schema: 1;
  readonly kernel: { readonly release: string; readonly buildId: string; readonly version: string };
  /** Where the records came from, and their digest. */
  readonly data: { readonly from: string; readonly sha256: string; readonly records: number };
  readonly counts: Readonly<Record<CveState, number>>;
  readonly cves: readonly (KernelCve & { readonly plan: CvePlan | null })[];
}

/** What building the fix of an open vulnerability came to. */
export interface CvePlan {
  readonly state: "closable" | "refused" | "needs a person" | "not in this configuration" | "fixed";
  readonly codes: readonly string[];
  readonly why: string;
  readonly hint: string;
}
