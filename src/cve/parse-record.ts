import * as z from "zod/mini";
import { commitPattern, cveIdPattern } from "../support/cve-id.ts";
import type { CvePair, CveRecord } from "./cve-record.ts";
import { baseScore } from "./cvss.ts";
import { parseKernelVersion } from "./kernel-version.ts";

/** Identifier of kernel.org as a CNA. */
const kernelCna = "f4215fc3-5b6b-47ff-a258-f7189bd81038";

/** A text of a record; longer ones are descriptions, which nobody needs here. */
const text = z.string().check(z.maxLength(4096));
const metric = z.looseObject({
  cvssV3_1: z.optional(z.looseObject({ vectorString: text, baseScore: z.number() })),
  cvssV3_0: z.optional(z.looseObject({ vectorString: text, baseScore: z.number() })),
});
const container = z.looseObject({ metrics: z.optional(z.array(metric)) });
const version = z.looseObject({
  version: text,
  lessThan: z.optional(text),
  lessThanOrEqual: z.optional(text),
  status: text,
  versionType: z.optional(text),
});
const affected = z.looseObject({
  vendor: z.optional(text),
  product: z.optional(text),
  programFiles: z.optional(z.array(text)),
  versions: z.optional(z.array(version)),
});

/** What is read of a CVE record of format 5 (CVEProject/cve-schema). */
const recordSchema = z.looseObject({
  cveMetadata: z.looseObject({
    cveId: z.string().check(z.regex(cveIdPattern)),
    state: text,
    assignerOrgId: z.optional(text),
    datePublished: z.optional(text),
  }),
  containers: z.looseObject({
    cna: z.looseObject({
      title: z.optional(text),
      metrics: z.optional(z.array(metric)),
      affected: z.optional(z.array(affected)),
    }),
    adp: z.optional(z.array(container)),
  }),
});

type Affected = z.infer<typeof affected>;

/** What a file says that is no record. */
export interface DamagedRecord {
  readonly problem: string;
}

/** A record, and whether it is one of the kernel's: collections of records hold those of everybody. */
export interface ParsedRecord extends CveRecord {
  readonly isKernel: boolean;
}

/**
 * Reads one record of format 5 as the kernel's CNA publishes it: one list of ranges of commits, and one of versions, in the same order.
 * @param dyad pairs of the record's `.dyad` file, which say outright what belongs together; they go before the record's own.
 * @param vector of the record's `.cvss` file.
 */
export function parseRecord(
  source: string,
  dyad?: readonly CvePair[] | undefined,
  vector?: string | undefined,
): ParsedRecord | DamagedRecord {
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch {
    return { problem: "it is not JSON" };
  }
  const result = recordSchema.safeParse(value);
  if (!result.success) {
    const where = result.error.issues[0]?.path.map(String).join(".") ?? "";
    return { problem: `${where === "" ? "it" : where} is not what a CVE record has there` };
  }
  const { cveMetadata, containers } = result.data;
  const all = containers.cna.affected ?? [];
  const entries = all.filter(({ vendor, product }) => vendor === "Linux" && product === "Linux");
  const metrics = [...(containers.cna.metrics ?? []), ...(containers.adp ?? []).flatMap((adp) => adp.metrics ?? [])];
  const rated = metrics.map((entry) => entry.cvssV3_1 ?? entry.cvssV3_0).find((entry) => entry !== undefined);
  const ownScore = vector === undefined ? undefined : baseScore(vector);
  return {
    isKernel: entries.length > 0 || (cveMetadata.state === "REJECTED" && cveMetadata.assignerOrgId === kernelCna),
    id: cveMetadata.cveId,
    state: cveMetadata.state === "REJECTED" ? "rejected" : "published",
    title: containers.cna.title ?? "",
    score: rated?.baseScore ?? ownScore ?? null,
    vector: rated?.vectorString ?? (ownScore === undefined ? null : (vector ?? null)),
    published: dateOf(cveMetadata.datePublished),
    pairs: dyad !== undefined && dyad.length > 0 ? dyad : pairsOf(entries),
    files: [...new Set(entries.flatMap((entry) => entry.programFiles ?? []))],
  };
}

function dateOf(text: string | undefined): string | null {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

function pairsOf(entries: readonly Affected[]): CvePair[] {
  const versions = entries.flatMap((entry) => entry.versions ?? []);
  const ranges = versions.filter(({ versionType }) => versionType === "git");
  const commits = [...new Set(ranges.flatMap(({ lessThan }) => (lessThan === undefined ? [] : [lessThan])))];
  const plain = versions.filter(({ versionType }) => versionType !== "git");
  // Either the fixed versions are listed as no longer affected, or, where later kernels never were, the affected ranges with their ends.
  const ends = plain.flatMap(({ status, lessThan, lessThanOrEqual, version: from }) => {
    if (status === "unaffected" && lessThanOrEqual !== undefined && from !== "0") return [from];
    return status === "affected" && lessThan !== undefined ? [lessThan] : [];
  });
  const fixed = [...new Set(ends)].filter((name) => parseKernelVersion(name) !== undefined);
  const starts = plain.filter(({ status, version: from }) => status === "affected" && from !== "0");
  const since = starts.map(({ version: from }) => from).filter((name) => parseKernelVersion(name) !== undefined);
  // Where the two lists differ in length, which commit belongs to which version is anybody's guess.
  const known = commits.length === fixed.length && commits.every((commit) => commitPattern.test(commit));
  const pairs = fixed.flatMap((end, index) => {
    const commit = known ? commits[index] : undefined;
    const own = starts.filter(({ lessThan }) => lessThan === end).map(({ version: from }) => from);
    const first = own.length > 0 ? own : since.length > 0 ? since : [undefined];
    return first.map((start) => ({ since: start, fixed: end, commit }));
  });
  if (pairs.length > 0 || starts.length === 0) return pairs;
  return since.map((start) => ({ since: start, fixed: undefined, commit: undefined }));
}

/**
 * Reads a `.dyad` file of the CNA's repository: lines `VULNERABLE:COMMIT:FIXED:COMMIT`, with zeros where nothing is known; lines that begin with `#` are
 * remarks.
 */
export function parseDyad(source: string): CvePair[] | DamagedRecord {
  const pairs: CvePair[] = [];
  for (const line of source.split("\n")) {
    const words = line.trim();
    if (words === "" || words.startsWith("#")) continue;
    const [since = "", , fixed = "", commit = "", ...rest] = words.split(":");
    const isKnown = (name: string): boolean => name === "0" || parseKernelVersion(name) !== undefined;
    if (rest.length > 0 || !isKnown(since) || !isKnown(fixed) || !(commit === "0" || commitPattern.test(commit))) {
      return { problem: `its line ${JSON.stringify(words.slice(0, 80))} is no pair of versions and commits` };
    }
    pairs.push({
      since: since === "0" ? undefined : since,
      fixed: fixed === "0" ? undefined : fixed,
      commit: commit === "0" ? undefined : commit,
    });
  }
  return pairs;
}

/** The vector in a `.cvss` file of the CNA's repository: who rated it, and the vector, with reasons below. */
export function parseCvssFile(source: string): string | undefined {
  return /\bCVSS:[34]\.\d\/[A-Z:/]+/.exec(source)?.[0];
}
