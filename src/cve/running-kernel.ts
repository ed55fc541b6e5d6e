import { chooseDistribution } from "../kernel/sources/distribution/choose.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { knownNotBuilt } from "./built-files.ts";
import { cvesInChangelog } from "./changelog.ts";
import type { CveData } from "./cve-data.ts";
import { type CveFilter, exposedRecords, type KernelCve, type KernelKnowledge, statesOf } from "./kernel-cves.ts";
import { type KernelVersion, parseKernelVersion } from "./kernel-version.ts";

/** The kernel that runs, as far as a host knows it without source and packages. */
export interface RunningKernel extends Pick<KernelKnowledge, "active" | "installed"> {
  /** As `uname -r` and `uname -v` print them. */
  readonly release: string;
  readonly banner: string;
  /** GNU build id; undefined where the kernel does not tell. */
  readonly buildId: string | undefined;
}

/**
 * How the vulnerabilities of the running kernel stand, by what the host knows.
 * @returns `knowsConfiguration` is false when nobody has asked Kbuild for this kernel here: then what is not built counts as open.
 */
export async function runningCves(
  { release, banner, buildId, active, installed }: RunningKernel,
  data: CveData,
  filter: CveFilter,
): Promise<{ readonly cves: readonly KernelCve[]; readonly knowsConfiguration: boolean }> {
  const version = await runningVersion(release, banner);
  // Packages of the running kernel have their documents on this system.
  const changelog = await cvesInChangelog({ imagePath: `/boot/vmlinuz-${release}`, release });
  const notBuilt = buildId === undefined ? undefined : await knownNotBuilt(buildId);
  const cves = statesOf(exposedRecords(data, version, filter), { version, active, installed, changelog }, notBuilt);
  return { cves, knowsConfiguration: notBuilt !== undefined };
}

async function runningVersion(release: string, banner: string): Promise<KernelVersion> {
  const distribution = await chooseDistribution().catch(() => undefined);
  const named = distribution?.packageVersionIn({ release, version: banner });
  const version = parseKernelVersion(named ?? "") ?? parseKernelVersion(release);
  if (version !== undefined) return version;
  throw new KmendError({
    code: "KERNEL_VERSION",
    message: `the running kernel ${release} does not state its kernel.org version`,
    hint: "name the kernel: kmend cves --kernel RELEASE",
    exitCode: ExitCode.environment,
  });
}

/** What a monitoring system wants to know of the vulnerabilities, in Prometheus' text format 0.0.4. */
export function cveMetrics(cves: readonly KernelCve[]): string {
  const count = (state: string, severity: string): number =>
    cves.filter((cve) => cve.state === state && cve.severity === severity).length;
  const pairs = [...new Set(cves.map(({ state, severity }) => `${state}\n${severity}`))].sort();
  const samples = pairs.map((pair) => {
    const [state = "", severity = ""] = pair.split("\n");
    return `kmend_cves{state="${state}",severity="${severity}"} ${count(state, severity)}`;
  });
  const dates = cves.flatMap(({ state, published }) => (state === "open" && published !== null ? [published] : []));
  const [oldest] = dates.sort();
  return [
    "# HELP kmend_cves Vulnerabilities of the running kernel that its series fixed later, by state and severity.",
    "# TYPE kmend_cves gauge",
    ...samples,
    ...(oldest === undefined
      ? []
      : [
          "# HELP kmend_cve_oldest_open_seconds When the oldest open vulnerability was published, in seconds since 1970.",
          "# TYPE kmend_cve_oldest_open_seconds gauge",
          `kmend_cve_oldest_open_seconds ${Math.floor(Date.parse(oldest) / 1000)}`,
        ]),
    "",
  ].join("\n");
}
