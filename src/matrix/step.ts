import type { BuildResult } from "../build/build-types.ts";
import type { ArchiveChoice } from "../kernel/sources/distribution/choose.ts";
import type { PackageChoices } from "../package/package-plan.ts";
import type { PackageFormat } from "../package/write-package.ts";
import { sha256 } from "../support/cache.ts";
import { version } from "../support/version.ts";

/** What makes two kernels the same for a cell. Digests are SHA-256. */
export interface KernelFacts {
  readonly release: string;
  readonly packageVersion: string;
  readonly buildId: string;
  /** Digest of the source. */
  readonly sources: string;
  /** Digest of the configuration. */
  readonly configuration: string;
  /** The compiler that the kernel names. */
  readonly compiler: string;
}

/** A source patch, whose content is an object of the store. */
export interface StoredPatch {
  readonly name: string;
  readonly sha256: string;
  /** Vulnerabilities that it was found by. */
  readonly cves?: readonly string[] | undefined;
}

interface StepBase {
  /** Digest of everything that the result depends on. */
  readonly key: string;
  /** Words that a worker has to be able to do, sorted. */
  readonly needs: readonly string[];
}

/** Finds out what a kernel is. */
export interface KernelStep extends StepBase {
  readonly kind: "kernel";
  readonly release: string;
  readonly packageVersion: string;
  readonly archive: ArchiveChoice | null;
}

/** Builds the module of a cell; `verify` builds it again, and compares. */
export interface BuildStep extends StepBase {
  readonly kind: "build" | "verify";
  readonly kernel: KernelFacts;
  readonly archive: ArchiveChoice | null;
  readonly module: string;
  /** In the order in which they are applied. */
  readonly patches: readonly StoredPatch[];
  /** Options of `kmend build`. */
  readonly words: readonly string[];
  /** Make the review report too. */
  readonly report: boolean;
  /** It is built twice, by different workers where there are several. */
  readonly twice: boolean;
}

/** Tries a module in a virtual machine. */
export interface TryStep extends StepBase {
  readonly kind: "try";
  readonly kernel: KernelFacts;
  readonly archive: ArchiveChoice | null;
  readonly module: StoredModule;
}

/** Signs a module. Only whoever has the key can. */
export interface SignStep extends StepBase {
  readonly kind: "sign";
  readonly module: StoredModule;
  /** Digest of the certificate that the signature has to be of. */
  readonly certificate: string;
  readonly hash: string;
}

/** A finished module, whose content is an object of the store. */
export interface StoredModule {
  /** File name with `.ko`. */
  readonly file: string;
  readonly release: string;
  readonly sha256: string;
}

/** Makes a package of the modules of some kernels. */
export interface PackageStep extends StepBase {
  readonly kind: "package";
  readonly choices: PackageChoices;
  /** As rpm names it. */
  readonly architecture: string;
  readonly modules: readonly (StoredModule & { readonly patches: readonly StoredPatch[] })[];
  readonly format: PackageFormat;
  /** Seconds since 1970 that stand for the time of the build. */
  readonly epoch: number;
}

/** One piece of work, which anybody who has the store can do; it is sent as JSON. */
export type Step = KernelStep | BuildStep | TryStep | SignStep | PackageStep;

/** A build as the store keeps it: nothing in it tells when, where and how often it was made. */
export interface BuildRecord
  extends Pick<BuildResult, "functions" | "refusals" | "warnings" | "notes" | "units" | "symbols"> {
  readonly outcome: "built" | "unchanged" | "refused";
  readonly module: (StoredModule & { readonly bytes: number; readonly staysInMemory: boolean }) | null;
  /** Digest of the review report, an object of the store. */
  readonly report: string | null;
}

/** What is remembered of each kind of step. */
export interface StepRecords {
  readonly kernel: KernelFacts;
  readonly build: BuildRecord;
  /** Digest of the record that came out the same. */
  readonly verify: { readonly record: string };
  readonly try: { readonly verdict: "passed" };
  readonly sign: { readonly module: StoredModule };
  readonly package: {
    readonly file: string;
    readonly name: string;
    readonly version: string;
    readonly sha256: string;
    readonly bytes: number;
  };
}

/** The record of one step. */
export type StepRecord = StepRecords[Step["kind"]];

/** SHA-256 of a value, whatever the order of its keys; the version of kmend is part of it. */
export function keyOf(kind: Step["kind"], value: object): string {
  return sha256(canonical({ schema: 1, kmend: version(), kind, value }));
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, part]) => `${JSON.stringify(name)}:${canonical(part)}`)
    .join(",")}}`;
}

/** What a build depends on. */
export type BuildQuestion = Pick<BuildStep, "kernel" | "module" | "patches" | "words">;

/**
 * The key of a cell: kernel build id, sources, configuration and compiler, patches in their order, the module's name, options, and kmend's version. The version of the
 * package that the kernel is in and the name of the archive are no part of it.
 */
export function buildKey({ kernel, module, patches, words }: BuildQuestion): string {
  const { release, buildId, sources, configuration, compiler } = kernel;
  return keyOf("build", { release, buildId, sources, configuration, compiler, module, patches, words });
}
