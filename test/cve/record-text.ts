/** What a test's record says. */
export interface RecordFacts {
  readonly id: string;
  readonly title: string;
  readonly files: readonly string[];
  /** First mainline version that has the fault. */
  readonly since: string;
  /** First versions without it, with their commits; mainline's last. */
  readonly fixes: readonly (readonly [version: string, commit: string])[];
  /** Ranges with both ends, for a fault of single series. */
  readonly ranges?: readonly (readonly [since: string, fixed: string, commit: string])[];
  readonly furtherCommits?: readonly string[];
  readonly score?: number;
  readonly vendor?: string;
}

/** A record in the form that the kernel's CNA publishes, with invented content. */
export function recordText(facts: RecordFacts): string {
  const { id, title, files, since, fixes, ranges = [], furtherCommits = [], score, vendor = "Linux" } = facts;
  const start = "0".repeat(40);
  const commits = [...fixes.map(([, commit]) => commit), ...ranges.map((range) => range[2]), ...furtherCommits];
  const git = commits.map((lessThan) => ({ version: start, lessThan, status: "affected", versionType: "git" }));
  const unaffected = fixes.map(([version], index) => ({
    version,
    lessThanOrEqual: index === fixes.length - 1 ? "*" : `${version.split(".").slice(0, 2).join(".")}.*`,
    status: "unaffected",
    versionType: index === fixes.length - 1 ? "original_commit_for_fix" : "semver",
  }));
  const versions =
    ranges.length > 0
      ? ranges.map(([version, lessThan]) => ({ version, lessThan, status: "affected", versionType: "semver" }))
      : [
          { version: since, status: "affected" },
          { version: "0", lessThan: since, status: "unaffected", versionType: "semver" },
          ...unaffected,
        ];
  const about = { product: vendor, vendor, programFiles: files };
  const metrics =
    score === undefined
      ? {}
      : { metrics: [{ cvssV3_1: { version: "3.1", vectorString: "CVSS:3.1/AV:L", baseScore: score } }] };
  const cna = {
    title,
    ...metrics,
    affected: [
      { ...about, versions: git },
      { ...about, versions },
    ],
  };
  return JSON.stringify({
    dataType: "CVE_RECORD",
    cveMetadata: { cveId: id, state: "PUBLISHED" },
    containers: { cna },
  });
}
