import { sha256 } from "../support/cache.ts";
import { version } from "../support/version.ts";
import type { PackagePlan } from "./package-plan.ts";

/** The description of an update for programs, inside packages and archives. */
export function metadataText(plan: PackagePlan): string {
  const metadata = {
    schema: 1,
    tool: `kmend ${version()}`,
    package: { name: plan.name, version: plan.version, release: plan.release, profile: plan.profile },
    architecture: plan.architecture.rpm,
    summary: plan.summary,
    description: plan.description,
    license: plan.license,
    cves: plan.cves,
    severity: plan.severity ?? null,
    kernels: plan.kernels,
    modules: plan.modules.map(({ file, name, release, finished }) => ({
      file,
      name,
      kernel: release,
      kernelBuildId: finished?.kernelBuildId ?? "",
      sha256: finished?.sha256 ?? null,
      bytes: finished?.content.length ?? null,
      signed: finished?.signed ?? null,
      patches: finished?.patches ?? [],
    })),
    patches: plan.patches.map(({ name, content }) => ({ name, sha256: sha256(content) })),
  };
  return `${JSON.stringify(metadata, null, 2)}\n`;
}

/** Lines of a changelog entry: what is fixed, how bad it is. Each is one line of free text. */
export function changelogLines(plan: PackagePlan): readonly string[] {
  return [
    plan.summary,
    ...plan.patches.map(({ name }) => `Patch: ${name}`),
    ...plan.cves.map((cve) => `Fixes {${cve}}`),
    ...(plan.severity === undefined ? [] : [`Severity: ${plan.severity}`]),
  ];
}
