import { ExitCode, KmendError } from "../support/errors.ts";
import { type CveData, compareIds } from "./cve-data.ts";
import type { CvePair } from "./cve-record.ts";
import { exposureOf } from "./kernel-state.ts";
import type { KernelVersion } from "./kernel-version.ts";

/** A commit that is to go into a patch module, with what it fixes. */
export interface ChosenFix {
  readonly commit: string;
  /** Vulnerabilities that it fixes; none for a commit that others rest on. */
  readonly cves: readonly string[];
}

/**
 * The commits that fix some vulnerabilities in the series of a kernel.
 * @param changelog vulnerabilities that the distribution says it has fixed.
 * @throws KmendError `CVE_UNKNOWN`, `CVE_REJECTED` (exit 2), `CVE_NOT_AFFECTED`, `CVE_FIXED` (exit 3), `CVE_NO_FIX`, `CVE_WITHOUT_COMMIT` (exit 4).
 */
export function fixesOf(
  ids: readonly string[],
  data: CveData,
  version: KernelVersion,
  changelog: ReadonlySet<string>,
): ChosenFix[] {
  const byCommit = new Map<string, string[]>();
  for (const id of [...new Set(ids)].sort(compareIds)) {
    const commit = fixOf(id, data, version, changelog);
    byCommit.set(commit, [...(byCommit.get(commit) ?? []), id]);
  }
  return [...byCommit].map(([commit, cves]) => ({ commit, cves }));
}

function fixOf(id: string, data: CveData, version: KernelVersion, changelog: ReadonlySet<string>): string {
  const record = data.records.get(id);
  if (record === undefined) {
    const damaged = data.damaged.find((text) => text.includes(`${id}.`));
    throw new KmendError({
      code: "CVE_UNKNOWN",
      message: damaged === undefined ? `the records do not have ${id}` : `the record of ${id} is damaged`,
      where: data.from,
      why: damaged ?? "it may be of another product, or newer than the records",
      hint: damaged === undefined ? "renew them: kmend cves --update" : "fetch the records again",
      exitCode: ExitCode.usage,
    });
  }
  if (record.state === "rejected") {
    throw new KmendError({
      code: "CVE_REJECTED",
      message: `${id} was withdrawn: the kernel's CNA says that it is no vulnerability`,
      where: data.from,
      hint: "nothing is to be fixed under this number",
      exitCode: ExitCode.usage,
    });
  }
  const exposure = exposureOf(record, version);
  if (exposure.kind === "not affected") {
    throw new KmendError({
      code: "CVE_NOT_AFFECTED",
      message: `${id} does not concern Linux ${version.text}`,
      why: `by the records it came later, or into other series only: ${rangesOf(record.pairs)}`,
      hint: "nothing is to be fixed in this kernel",
      exitCode: ExitCode.unchanged,
    });
  }
  if (exposure.kind === "fixed" || changelog.has(id)) {
    throw new KmendError({
      code: "CVE_FIXED",
      message: `Linux ${version.text} has the fix of ${id} already`,
      why:
        exposure.kind === "fixed"
          ? `it came with ${exposure.fixed}`
          : "the changelog of the kernel's package names it among what was fixed",
      hint: "nothing is to be fixed in this kernel",
      exitCode: ExitCode.unchanged,
    });
  }
  if (exposure.kind === "no fix") {
    const others = exposure.elsewhere.join(", ");
    throw new KmendError({
      code: "CVE_NO_FIX",
      message: `no version of Linux ${version.series} has a fix of ${id} yet`,
      why: others === "" ? "the records name no fix at all" : `it was fixed in ${others}`,
      hint:
        others === ""
          ? "wait for one, or stop the function in question"
          : "port the patch of one of those to this series, and build it with kmend build PATCH",
      exitCode: ExitCode.refused,
    });
  }
  if (exposure.commit === undefined) {
    throw new KmendError({
      code: "CVE_WITHOUT_COMMIT",
      message: `the records do not say which commit of ${exposure.fixed} fixes ${id}`,
      where: data.from,
      hint: "find it in the changelog of that version, and build it with kmend build PATCH",
      exitCode: ExitCode.refused,
    });
  }
  return exposure.commit;
}

function rangesOf(pairs: readonly CvePair[]): string {
  const texts = pairs.map(({ since, fixed }) => `${since ?? "the beginning"} to ${fixed ?? "today"}`);
  return texts.slice(0, 6).join(", ");
}
