import { type CveData, compareIds } from "./cve-data.ts";
import type { CveRecord } from "./cve-record.ts";
import { severityOf } from "./cvss.ts";
import { type Exposure, exposureOf } from "./kernel-state.ts";
import { compareKernelVersions, type KernelVersion, parseKernelVersion } from "./kernel-version.ts";

/** How a vulnerability stands on one kernel. */
export type CveState = "in force" | "installed" | "not in this configuration" | "fixed" | "open" | "no fix";

/** One vulnerability of one kernel. */
export interface KernelCve {
  readonly id: string;
  readonly title: string;
  /** CVSS base score; null where nobody rated it. */
  readonly score: number | null;
  readonly severity: ReturnType<typeof severityOf>;
  readonly vector: string | null;
  /** When it was published, as ISO 8601; null where the record does not say. */
  readonly published: string | null;
  /** First version of this series with the fix; null while there is none. */
  readonly fixedIn: string | null;
  /** The commit that fixed it in this series. */
  readonly commit: string | null;
  readonly files: readonly string[];
  readonly state: CveState;
  /** What the state rests on. */
  readonly why: string;
}

/** What is known of a kernel beside its version. */
export interface KernelKnowledge {
  readonly version: KernelVersion;
  /** CVEs of patch modules that are active. */
  readonly active: ReadonlySet<string>;
  /** CVEs of patch modules that are installed for it. */
  readonly installed: ReadonlySet<string>;
  /** CVEs that the distribution says it has fixed. */
  readonly changelog: ReadonlySet<string>;
}

/** Which vulnerabilities are wanted. */
export interface CveFilter {
  /** Only those that were fixed in this version of the series or later; default: after the kernel's own. */
  readonly fixedSince?: KernelVersion | undefined;
  /** Lowest CVSS base score; those that nobody rated are left out then. */
  readonly minScore?: number | undefined;
  /** Only those that change one of these files, or a file below one of these folders. */
  readonly files?: readonly string[] | undefined;
  readonly ids?: readonly string[] | undefined;
}

/** A record with its exposure; the state comes with the configuration. */
export interface Exposed {
  readonly record: CveRecord;
  readonly exposure: Exposure;
}

/** The published records that concern a version of the kernel: fixed later in its series, or not yet. Those of the filter alone. */
export function exposedRecords(data: Pick<CveData, "records">, version: KernelVersion, filter: CveFilter): Exposed[] {
  const found: Exposed[] = [];
  for (const record of data.records.values()) {
    if (record.state !== "published" || !isWanted(record, filter)) continue;
    const exposure = exposureOf(record, version);
    if (exposure.kind === "fixed later" || exposure.kind === "no fix") {
      if (isSince(exposure, filter.fixedSince)) found.push({ record, exposure });
    } else if (exposure.kind === "fixed" && filter.fixedSince !== undefined && isSince(exposure, filter.fixedSince)) {
      found.push({ record, exposure });
    }
  }
  return found.sort((a, b) => bySeries(a.exposure, b.exposure) || compareIds(a.record.id, b.record.id));
}

function isWanted({ id, score, files }: CveRecord, { minScore, files: wanted, ids }: CveFilter): boolean {
  if (ids !== undefined && ids.length > 0 && !ids.includes(id)) return false;
  if (minScore !== undefined && (score === null || score < minScore)) return false;
  return (
    wanted === undefined ||
    wanted.length === 0 ||
    wanted.some((path) => files.some((file) => file === path || file.startsWith(`${path.replace(/\/$/, "")}/`)))
  );
}

function isSince(exposure: Exposure, since: KernelVersion | undefined): boolean {
  if (since === undefined) return true;
  const fixed = fixedIn(exposure);
  return fixed !== undefined && fixed.series === since.series && compareKernelVersions(fixed, since) >= 0;
}

function fixedIn(exposure: Exposure): KernelVersion | undefined {
  return "fixed" in exposure ? parseKernelVersion(exposure.fixed) : undefined;
}

/** In the order in which the series got its fixes; those without one last. */
function bySeries(a: Exposure, b: Exposure): number {
  const [left, right] = [fixedIn(a), fixedIn(b)];
  if (left === undefined || right === undefined) return Number(left === undefined) - Number(right === undefined);
  return compareKernelVersions(left, right);
}

/**
 * The state of each vulnerability.
 * @param notBuilt files that are no part of this kernel; undefined when nobody asked.
 */
export function statesOf(
  exposed: readonly Exposed[],
  knowledge: KernelKnowledge,
  notBuilt: ReadonlySet<string> | undefined,
): KernelCve[] {
  return exposed.map(({ record, exposure }) => {
    const { id, title, score, vector, published, files } = record;
    const [state, why] = stateOf(record, exposure, knowledge, notBuilt);
    return {
      ...{ id, title, score, severity: severityOf(score), vector, published },
      fixedIn: "fixed" in exposure ? exposure.fixed : null,
      commit: exposure.kind === "fixed later" ? (exposure.commit ?? null) : null,
      ...{ files, state, why },
    };
  });
}

function stateOf(
  { id, files }: CveRecord,
  exposure: Exposure,
  { version, active, installed, changelog }: KernelKnowledge,
  notBuilt: ReadonlySet<string> | undefined,
): readonly [CveState, string] {
  if (exposure.kind === "fixed") return ["fixed", `${version.text} came after the fix in ${exposure.fixed}`];
  if (changelog.has(id)) return ["fixed", "the changelog of the kernel's package names it"];
  if (active.has(id)) return ["in force", "an active patch module names it"];
  if (files.length > 0 && notBuilt !== undefined && files.every((file) => notBuilt.has(file))) {
    const what = files.length === 1 ? files[0] : `none of its ${files.length} files`;
    return ["not in this configuration", `${what} is ${files.length === 1 ? "not " : ""}part of this kernel`];
  }
  if (installed.has(id)) return ["installed", "an installed patch module names it, and it is not active"];
  if (exposure.kind === "no fix") {
    const others = exposure.elsewhere.length > 0 ? `; fixed in ${exposure.elsewhere.join(", ")}` : "";
    return ["no fix", `no version of ${version.series} has a fix${others}`];
  }
  const later = exposure.kind === "fixed later" ? exposure.fixed : "";
  return ["open", `fixed in ${later}`];
}
