import { utimes } from "node:fs/promises";
import { join } from "node:path";
import { type ChosenFix, fixesOf } from "../cve/chosen-fixes.ts";
import type { CveData } from "../cve/cve-data.ts";
import type { FixSource } from "../cve/fix-sources.ts";
import { parseKernelVersion } from "../cve/kernel-version.ts";
import { prepareFix } from "../cve/prepared-fixes.ts";
import type { OrderedFix } from "../package/package-order.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** Where vulnerabilities of a manifest are looked up, and their patches come from. */
export interface FixLookup {
  readonly data: CveData;
  readonly source: FixSource;
}

/** A patch in a file, with the vulnerabilities that it was found by. */
export interface FoundPatch {
  readonly path: string;
  readonly cves: readonly string[];
}

/** What a vulnerability of a manifest comes to for a kernel: patches, or why there are none. */
export type ResolvedFix =
  | { readonly outcome: "patches"; readonly patches: readonly FoundPatch[] }
  | { readonly outcome: "unchanged" | "refused"; readonly refusal: Refusal };

/**
 * Turns the vulnerabilities that a manifest names into the patches of their fixes, each for the series of its kernel. What the distribution has fixed on its own is
 * not looked up, since that takes the packages of each kernel: such a patch is found to be applied already when its cell is built.
 */
export class ManifestFixes {
  readonly #folder: string;
  readonly #versions: ReadonlyMap<string, string>;
  readonly #open: () => Promise<FixLookup>;
  #lookup: Promise<FixLookup> | undefined;

  /**
   * @param folder where the patches are written.
   * @param kernels releases and versions of their packages.
   * @param open called when the first vulnerability is looked up.
   */
  constructor(
    folder: string,
    kernels: readonly { readonly release: string; readonly packageVersion: string }[],
    open: () => Promise<FixLookup>,
  ) {
    this.#folder = folder;
    this.#versions = new Map(kernels.map(({ release, packageVersion }) => [release, packageVersion]));
    this.#open = open;
  }

  /**
   * @throws KmendError for what holds for all kernels, or is no answer: a vulnerability that the records do not have or that was withdrawn, damaged records, a patch
   * that cannot be fetched.
   */
  async resolve({ cve, with: before }: OrderedFix, kernel: string): Promise<ResolvedFix> {
    this.#lookup ??= this.#open();
    const { data, source } = await this.#lookup;
    const version = parseKernelVersion(this.#versions.get(kernel) ?? "") ?? parseKernelVersion(kernel);
    try {
      if (version === undefined) throw withoutVersion(kernel);
      const fixes = [...before.map((commit) => ({ commit, cves: [] })), ...fixesOf([cve], data, version, new Set())];
      const patches: FoundPatch[] = [];
      for (const fix of fixes) {
        const { path, patch } = await prepareFix(fix, source, this.#folderOf(kernel, fix));
        // Packages carry the time of their newest patch: that of the commit, and not of this copy.
        await utimes(path, commitTime(patch.content), commitTime(patch.content));
        patches.push({ path, cves: fix.cves });
      }
      return { outcome: "patches", patches };
    } catch (error) {
      const outcome = outcomeOf(error);
      if (outcome === undefined) throw error;
      return { outcome, refusal: refusalOf(error as KmendError) };
    }
  }

  #folderOf(kernel: string, { commit }: ChosenFix): string {
    return join(this.#folder, kernel, commit.slice(0, 12));
  }
}

/** Seconds since 1970 by the mail of a commit; 0 for one without a date. */
function commitTime(mail: Buffer): number {
  const time = Date.parse(/^Date: (.*)$/m.exec(mail.subarray(0, 4096).toString("latin1"))?.[1] ?? "");
  return Number.isNaN(time) ? 0 : Math.floor(time / 1000);
}

/** Whether an error is what the records say about one kernel. */
function outcomeOf(error: unknown): "unchanged" | "refused" | undefined {
  if (!(error instanceof KmendError)) return undefined;
  if (error.exitCode === ExitCode.unchanged) return "unchanged";
  return error.exitCode === ExitCode.refused ? "refused" : undefined;
}

function refusalOf({ code, message, where, why, hint }: KmendError): Refusal {
  // The code is none of those that a refusal of the build has; what reads it shows it as it is.
  return { code: code as Refusal["code"], what: message, where: where ?? "", why: why ?? "", hint: hint ?? "" };
}

function withoutVersion(kernel: string): KmendError {
  return new KmendError({
    code: "KERNEL_VERSION",
    message: `${kernel} does not state its kernel.org version`,
    hint: "the records of the kernel's CNA cannot be applied to such a kernel: give the patch by its file name",
    exitCode: ExitCode.refused,
  });
}
