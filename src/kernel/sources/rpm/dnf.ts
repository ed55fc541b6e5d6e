import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, sha256 } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { type RunResult, run } from "../../../support/run.ts";
import type { DistributionContext } from "../distribution/distribution.ts";
import { type RpmFile, sourceRpmName } from "./rpm-file.ts";
import { requireSignatures, type SignaturePolicy, signaturePolicy } from "./rpm-signatures.ts";

/** What is looked for in the repositories that dnf is configured for. */
export interface DnfRequest {
  readonly source: RpmFile;
  /** dnf.conf to use in place of the system's. */
  readonly configuration: string | undefined;
  /** Release of the kernel, of which `+debug` and the like name the flavour. */
  readonly kernel: string | undefined;
  readonly architecture: string;
}

interface Offered {
  readonly name: string;
  /** `name-version-release.arch`, for dnf. */
  readonly spec: string;
  readonly sourceRpm: string;
  readonly architecture: string;
  readonly repository: string;
}

/**
 * Downloads the packages of a kernel that were built from one source RPM, once. They are signed where their repository asks for it, now or when they were
 * downloaded.
 * @returns paths of the files.
 * @throws KmendError `DNF_MISSING`, `DNF_FAILED`, `KERNEL_RPMS_NOT_OFFERED`, `RPM_POLICY`, `RPM_SIGNATURE`, `RPM_KEY` (exit 5)
 */
export async function downloadKernelRpms(request: DnfRequest, context: DistributionContext): Promise<string[]> {
  const { source, kernel, architecture } = request;
  const wanted = sourceRpmName(source);
  const flavour = flavourOf(kernel);
  const key = sha256("2", "\0", wanted, "\0", architecture, "\0", flavour).slice(0, 16);
  const folder = join(context.cache, "rpms", `${wanted.replace(/\.src\.rpm$/, "")}-download-${key}`);
  if (!(await exists(folder))) {
    await context.progress.phase("download", "Fetch kernel packages", async (status) => {
      status("asking the repositories of dnf");
      const offered = await offeredBy(request, context);
      const chosen = chooseKernelPackages(
        source.name,
        flavour,
        offered.filter((one) => one.sourceRpm === wanted && one.architecture === architecture),
      );
      if (chosen.length === 0) throw notOffered(request, wanted, offered);
      status(`downloading ${chosen.map(({ name }) => name).join(", ")}`);
      await makeOnce(folder, async (temporary) => {
        await makeFolder(temporary);
        const unchecked: Record<string, string[]> = {};
        // From the repository whose keys are looked at, as another one may have packages of the same names.
        for (const repository of new Set(chosen.map((one) => one.repository))) {
          const specs = chosen.filter((one) => one.repository === repository).map(({ spec }) => spec);
          const part = join(temporary, "part");
          await mkdir(part);
          await dnf(["download", "--repo", repository, "--destdir", part, ...specs], request, context);
          const files = (await readdir(part)).filter((name) => name.endsWith(".rpm"));
          if (files.length !== specs.length) throw notDownloaded(specs, files);
          if (!(await checkWhereAsked(repository, part, files, request, context))) unchecked[repository] = files;
          for (const name of files) await rename(join(part, name), join(temporary, name));
          await rm(part, { recursive: true });
        }
        await writeFile(join(temporary, uncheckedName), JSON.stringify(unchecked));
      });
    });
  } else {
    const unchecked = JSON.parse(await readFile(join(folder, uncheckedName), "utf8")) as Record<string, string[]>;
    for (const [repository, files] of Object.entries(unchecked))
      await checkWhereAsked(repository, folder, files, request, context);
  }
  return (await readdir(folder))
    .filter((name) => name.endsWith(".rpm"))
    .sort()
    .map((name) => join(folder, name));
}

/** In a folder of downloaded packages: those whose repositories asked for no signatures then, by repository. */
const uncheckedName = "unchecked.json";

/** Checks packages of one repository with its keys. @returns false when it does not ask for that. */
async function checkWhereAsked(
  repository: string,
  folder: string,
  files: readonly string[],
  request: DnfRequest,
  context: DistributionContext,
): Promise<boolean> {
  const policy = await policyOf(repository, request, context);
  if (!policy.isAsked) return false;
  const paths = files.map((name) => join(folder, name));
  await requireSignatures(paths, policy, context.signal);
  return true;
}

function notDownloaded(specs: readonly string[], files: readonly string[]): KmendError {
  return new KmendError({
    code: "DNF_FAILED",
    message: "dnf did not download all that its repositories offer",
    why: `asked for ${specs.join(", ")}, got ${files.join(", ") || "nothing"}`,
    hint: "try again, or give the packages with --kernel-rpm FILE",
    exitCode: ExitCode.environment,
  });
}

/** `5.14.0-427.el9.x86_64+debug` and older `….x86_64.debug` are of the flavour `debug`; the plain one has an empty name. */
function flavourOf(kernel: string | undefined): string {
  return /\.(?:x86_64|aarch64|ppc64le|s390x)[.+]([\w-]+)$/.exec(kernel ?? "")?.[1] ?? "";
}

/** Ends of the names of a flavour's packages. `kernel` alone has files on older distributions only. */
const parts = ["", "-core", "-modules", "-modules-core", "-modules-extra", "-devel"];

/**
 * The packages that make up one flavour of a kernel.
 * @param name of the source package, with which theirs start.
 */
export function chooseKernelPackages<Package extends { readonly name: string }>(
  name: string,
  flavour: string,
  offered: readonly Package[],
): Package[] {
  const stem = flavour === "" ? name : `${name}-${flavour}`;
  const names = new Set(parts.map((part) => stem + part));
  const chosen = new Map(offered.filter((one) => names.has(one.name)).map((one) => [one.name, one]));
  if (chosen.has(`${stem}-core`)) chosen.delete(stem);
  return [...chosen.values()];
}

const queryFormat = "%{name}\t%{version}\t%{release}\t%{arch}\t%{sourcerpm}\t%{repoid}\n";

async function offeredBy(request: DnfRequest, context: DistributionContext): Promise<Offered[]> {
  const query = ["repoquery", "--qf", queryFormat, `${request.source.name}*`];
  const { stdout } = await dnf(query, request, context);
  return stdout.split("\n").flatMap((line) => {
    const [name, version, release, architecture, sourceRpm, repository] = line.split("\t");
    if (name === undefined || architecture === undefined || sourceRpm === undefined || repository === undefined)
      return [];
    return [{ name, spec: `${name}-${version}-${release}.${architecture}`, sourceRpm, architecture, repository }];
  });
}

/** Configuration of a repository as dnf understands it: dnf 4 has a plugin for it, dnf 5 an option. */
async function policyOf(
  repository: string,
  request: DnfRequest,
  context: DistributionContext,
): Promise<SignaturePolicy> {
  const dumped = await dnf(["config-manager", "--dump", repository], request, context).catch((error: unknown) => {
    if (error instanceof KmendError && error.code === "DNF_FAILED")
      return dnf([`--dump-repo-config=${repository}`], request, context);
    throw error;
  });
  const policy = signaturePolicy(dumped.stdout);
  if (policy !== undefined) return policy;
  throw new KmendError({
    code: "RPM_POLICY",
    message: `dnf does not tell whether packages of ${repository} have to be signed`,
    why: `neither dnf config-manager --dump nor dnf --dump-repo-config prints gpgcheck for ${repository}`,
    hint: "install dnf-plugins-core, or name a dnf.conf that has the repository with --dnf-config FILE; packages that you trust can be given with --kernel-rpm FILE",
    exitCode: ExitCode.environment,
  });
}

async function dnf(words: readonly string[], request: DnfRequest, context: DistributionContext): Promise<RunResult> {
  const { configuration } = request;
  // Without a space or a short form, which dnf 5 does not have.
  const options = ["-q", "-y", ...(configuration === undefined ? [] : [`--config=${configuration}`])];
  const { signal } = context;
  const result = await run("dnf", [...options, ...words], { signal, allowFailure: true });
  signal?.throwIfAborted();
  if (result.exitCode === 0) return result;
  throw explainDnf(result, words[0] as string);
}

/** What dnf 4 and 5 print, and what it means; the first row that matches counts. */
const failures: readonly { readonly pattern: RegExp; readonly message: string; readonly hint: string }[] = [
  {
    pattern: /No such command|Unknown argument "download"/,
    message: "dnf has no download command",
    hint: "install it (dnf-plugins-core), or give the packages with --kernel-rpm FILE",
  },
  {
    pattern: /There are no enabled repositories|No repositories (?:are )?(?:enabled|available)/i,
    message: "dnf has no repository",
    hint: "configure one, or name a dnf.conf with --dnf-config FILE, or give the packages with --kernel-rpm FILE",
  },
  {
    pattern: /Cannot download|Failed to download|Curl error|Could not resolve|All mirrors were tried/i,
    message: "a repository of dnf cannot be reached",
    hint: "check the network and the configuration of dnf, then try again, or give the packages with --kernel-rpm FILE",
  },
];

function explainDnf(result: RunResult, command: string): KmendError {
  if (result.exitCode === -1) {
    return new KmendError({
      code: "DNF_MISSING",
      message: "dnf is not installed",
      why: "it finds the packages that were built from the source RPM",
      hint: "install it, or give the kernel's core, modules and devel packages with --kernel-rpm FILE",
      exitCode: ExitCode.environment,
      cause: result,
    });
  }
  const row = failures.find(({ pattern }) => pattern.test(result.all));
  return new KmendError({
    code: "DNF_FAILED",
    message: row?.message ?? `dnf ${command} failed`,
    why: result.all.trim().split("\n").slice(-8).join("\n"),
    hint: row?.hint ?? "repair what dnf complains about, or give the packages with --kernel-rpm FILE",
    exitCode: ExitCode.environment,
    cause: result,
  });
}

function notOffered(
  { source, kernel, architecture }: DnfRequest,
  wanted: string,
  offered: readonly Offered[],
): KmendError {
  const kernels = offered.filter(({ name }) => name === source.name || name === `${source.name}-core`);
  const sources = [...new Set(kernels.map(({ sourceRpm }) => sourceRpm))].slice(-6);
  return new KmendError({
    code: "KERNEL_RPMS_NOT_OFFERED",
    message: `no repository of dnf offers the ${architecture} packages that were built from ${wanted}${kernel === undefined ? "" : ` for ${kernel}`}`,
    why: sources.length === 0 ? `none offers a package ${source.name}` : `they offer those of ${sources.join(", ")}`,
    hint: "give the core, modules and devel packages with --kernel-rpm FILE, enable the repository that has them, or name a dnf.conf with --dnf-config FILE",
    exitCode: ExitCode.environment,
  });
}
