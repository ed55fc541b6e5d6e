import type { CvePair, CveRecord } from "./cve-record.ts";
import { compareKernelVersions, isMainline, type KernelVersion, parseKernelVersion } from "./kernel-version.ts";

/** How a vulnerability stands to a version of the kernel, by the records alone. */
export type Exposure =
  /** It came later, or into other series only. */
  | { readonly kind: "not affected" }
  /** This version has the fix. */
  | { readonly kind: "fixed"; readonly fixed: string }
  /** A later version of this series has it. */
  | { readonly kind: "fixed later"; readonly fixed: string; readonly commit: string | undefined }
  /** No version of this series has it; `elsewhere` are those that do. */
  | { readonly kind: "no fix"; readonly elsewhere: readonly string[] };

/** Judges a record for one version of the kernel. */
export function exposureOf(record: Pick<CveRecord, "pairs">, kernel: KernelVersion): Exposure {
  const pairs = record.pairs.flatMap((pair) => readPair(pair));
  const here = pairs.filter(({ fixed }) => fixed?.series === kernel.series && !isBefore(fixed, kernel));
  if (here.length > 0) {
    const [first] = here as [ReadPair];
    const fixed = (first.fixed as KernelVersion).text;
    // A fix in this very series; several pairs are several ways in which the fault came.
    const affected = here.filter(({ since }) => reaches(since, kernel));
    if (affected.length === 0) return { kind: "not affected" };
    const open = affected.find((pair) => compareKernelVersions(kernel, pair.fixed as KernelVersion) < 0);
    if (open === undefined) return { kind: "fixed", fixed };
    return { kind: "fixed later", fixed: (open.fixed as KernelVersion).text, commit: open.commit };
  }
  const affected = pairs.filter(({ since }) => reaches(since, kernel));
  if (affected.length === 0) return { kind: "not affected" };
  const before = affected.find(({ fixed }) => fixed !== undefined && isBefore(fixed, kernel));
  if (before !== undefined) return { kind: "fixed", fixed: (before.fixed as KernelVersion).text };
  const elsewhere = affected.flatMap(({ fixed }) => (fixed === undefined ? [] : [fixed.text]));
  return { kind: "no fix", elsewhere: [...new Set(elsewhere)] };
}

interface ReadPair {
  readonly since: KernelVersion | undefined;
  readonly fixed: KernelVersion | undefined;
  readonly commit: string | undefined;
}

function readPair({ since, fixed, commit }: CvePair): ReadPair[] {
  const read = (text: string | undefined): KernelVersion | undefined =>
    text === undefined ? undefined : parseKernelVersion(text);
  return [{ since: read(since), fixed: read(fixed), commit }];
}

/** True when a fault that came with `since` is in the line that leads to `kernel`: from mainline, or from the same series. */
function reaches(since: KernelVersion | undefined, kernel: KernelVersion): boolean {
  if (since === undefined) return true;
  if (since.series !== kernel.series && !isMainline(since)) return false;
  return compareKernelVersions(since, kernel) <= 0;
}

/** True when the fix was in mainline before this series began. */
function isBefore(fixed: KernelVersion, kernel: KernelVersion): boolean {
  if (!isMainline(fixed)) return false;
  const start = parseKernelVersion(kernel.series) as KernelVersion;
  return (
    compareKernelVersions(fixed, start) <= 0 && !(fixed.series === kernel.series && kernel.candidate !== undefined)
  );
}
