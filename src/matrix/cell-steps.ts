import type { PackageFormat } from "../package/write-package.ts";
import type { Cell, CellSettings, PackageCells } from "./cell.ts";
import type { PackageStep, SignStep, StoredModule, TryStep } from "./step.ts";
import { type BuildRecord, type BuildStep, buildKey, type KernelFacts, type KernelStep, keyOf } from "./step.ts";

/** Who has to sign, as far as those may know who have no key. */
export interface SignerFacts {
  /** SHA-256 of the certificate. */
  readonly certificate: string;
  readonly hash: string;
}

/** Looks at a kernel. */
export function kernelStep(
  { release, packageVersion }: { readonly release: string; readonly packageVersion: string },
  { archive, needs }: CellSettings,
): KernelStep {
  const key = keyOf("kernel", { release, packageVersion, archive });
  return { kind: "kernel", key, needs, release, packageVersion, archive };
}

/** Builds a cell. */
export function buildStep(cell: Cell, kernel: KernelFacts, settings: CellSettings): BuildStep {
  const { archive, needs, report } = settings;
  const { module, patches, cves } = cell;
  const words = [...settings.words, ...cves.flatMap((id) => ["--fixes", id])];
  const question = { kernel, module, patches, words };
  const key = report ? keyOf("build", { key: buildKey(question), report }) : buildKey(question);
  return { kind: "build", key, needs, archive, report, twice: settings.twice, ...question };
}

/** Builds it once more. */
export function verifyStep(build: BuildStep): BuildStep {
  return { ...build, kind: "verify" };
}

/** Tries what came of it. */
export function tryStep({ kernel, archive, needs }: BuildStep, module: StoredModule): TryStep {
  const { file, release, sha256 } = module;
  const key = keyOf("try", { kernel: kernel.buildId, module: sha256 });
  return { kind: "try", key, needs: withWord(needs, "try"), kernel, archive, module: { file, release, sha256 } };
}

/** Signs it. */
export function signStep(module: StoredModule, { certificate, hash }: SignerFacts): SignStep {
  const { file, release, sha256 } = module;
  const key = keyOf("sign", { module: sha256, certificate, hash });
  return { kind: "sign", key, needs: ["sign"], module: { file, release, sha256 }, certificate, hash };
}

/** Packages modules; `parts` are in the order of the package's cells. */
export function packageStep(
  { choices, architecture, epoch }: PackageCells,
  parts: readonly { readonly cell: Cell; readonly module: StoredModule }[],
  format: PackageFormat,
): PackageStep {
  const modules = parts.map(({ cell: { patches }, module: { file, release, sha256 } }) => {
    return { file, release, sha256, patches };
  });
  const question = { choices, architecture: architecture.rpm, modules, format, epoch };
  const needs = [format === "tar" ? "deb" : format];
  return { kind: "package", key: keyOf("package", question), needs, ...question };
}

function withWord(needs: readonly string[], word: string): readonly string[] {
  return [...new Set([...needs, word])].sort();
}

/** The module of a build that made one, or undefined. */
export function moduleOf({ outcome, module }: BuildRecord): StoredModule | undefined {
  return outcome === "built" && module !== null ? module : undefined;
}
