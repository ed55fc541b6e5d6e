import { readdir } from "node:fs/promises";
import { exists } from "./cache.ts";
import { ExitCode, KmendError } from "./errors.ts";
import { findProgram, isStaticProgram } from "./find-program.ts";
import type { Progress } from "./progress.ts";
import { type Evidence, type Need, type PackageManager, type Requirement, requirements } from "./requirement-table.ts";
import { run } from "./run.ts";

export interface RequirementStatus {
  readonly requirement: Requirement;
  /** File that shows it is there, or undefined when it is missing. */
  readonly foundAt: string | undefined;
}

/** Looks for everything that one of `needs` asks for, in the order of the table. */
export async function checkRequirements(
  needs: readonly Need[],
  table: readonly Requirement[] = requirements,
): Promise<readonly RequirementStatus[]> {
  const asked = table.filter((requirement) => requirement.needs.some((need) => needs.includes(need)));
  return Promise.all(
    asked.map(async (requirement) => ({ requirement, foundAt: await findEvidence(requirement.evidence) })),
  );
}

async function findEvidence(evidence: Evidence): Promise<string | undefined> {
  if (evidence.kind === "program") return findProgram(evidence.name);
  if (evidence.kind === "staticProgram") return findProgram(evidence.name, isStaticProgram);
  for (const path of evidence.paths) if (await exists(path)) return path;
  return undefined;
}

/** The package manager of this machine, or undefined when kmend knows none of those that are there. */
export async function detectPackageManager(): Promise<PackageManager | undefined> {
  return (await findProgram("apt-get")) === undefined ? undefined : "apt";
}

/** Packages for what is missing, each once, sorted. With a choice, the first that the archive has; the first of all when it has none. */
export async function packagesFor(
  missing: readonly Requirement[],
  manager: PackageManager,
): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const { packages } of missing) {
    const choice = packages[manager];
    let chosen = choice[0];
    for (const name of choice.length > 1 ? choice : []) {
      const { exitCode } = await run("apt-cache", ["show", "--no-all-versions", name], { allowFailure: true });
      if (exitCode !== 0) continue;
      chosen = name;
      break;
    }
    names.add(chosen);
  }
  return [...names].sort();
}

/** The command to type for these packages. */
export function installCommand(packages: readonly string[]): string {
  return `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
}

export interface InstallOptions {
  readonly progress: Progress;
  /** Folder of the package lists; default apt's own. */
  readonly packageLists?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Installs packages with apt-get, as root and without a question. Package lists are fetched first when there are none, and again when the
 * install fails, since an old list names files that the archive no longer has.
 * @throws KmendError `PROGRAM_FAILED` with apt-get's last lines.
 */
async function installPackages(packages: readonly string[], options: InstallOptions): Promise<void> {
  const settings = { env: { DEBIAN_FRONTEND: "noninteractive" }, signal: options.signal };
  const update = async (): Promise<void> => {
    await options.progress.phase("apt-update", "Fetch package lists", () => run("apt-get", ["update", "-q"], settings));
  };
  const install = async (allowFailure: boolean): Promise<boolean> => {
    const args = ["install", "-y", "-q", "--no-install-recommends", ...packages];
    const { exitCode } = await run("apt-get", args, { ...settings, allowFailure });
    return exitCode === 0;
  };
  const fresh = !(await hasPackageLists(options.packageLists ?? "/var/lib/apt/lists"));
  if (fresh) await update();
  await options.progress.phase("apt-install", `Install ${packages.join(" ")}`, async () => {
    if (await install(!fresh)) return;
    await update();
    await install(false);
  });
}

async function hasPackageLists(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.some((name) => /_Packages(\.\w+)?$/.test(name));
}

export interface EnsureOptions extends InstallOptions {
  readonly needs: readonly Need[];
  /** Install what is missing where this process is root; false only reports it. */
  readonly install: boolean;
  readonly table?: readonly Requirement[] | undefined;
}

/**
 * Makes sure that everything `needs` asks for is there.
 * @throws KmendError `REQUIREMENTS_MISSING` (exit 5) with the command to type, when it may not or cannot install it itself.
 */
export async function ensureRequirements(options: EnsureOptions): Promise<void> {
  const missing = await missingOf(options);
  if (missing.length === 0) return;
  const manager = await detectPackageManager();
  if (manager === undefined || !options.install || !isRoot()) throw await missingError(missing, manager);
  const packages = await packagesFor(missing, manager);
  options.progress.note(`installing what is missing: ${packages.join(" ")} (--no-install forbids it)`);
  await installPackages(packages, options);
  const still = await missingOf(options);
  if (still.length > 0) throw await missingError(still, manager);
}

async function missingOf(options: EnsureOptions): Promise<readonly Requirement[]> {
  const statuses = await checkRequirements(options.needs, options.table);
  return statuses.filter(({ foundAt }) => foundAt === undefined).map(({ requirement }) => requirement);
}

async function missingError(missing: readonly Requirement[], manager: PackageManager | undefined): Promise<KmendError> {
  const hint =
    manager === undefined
      ? "install these with the package manager of this system; kmend can do it itself only where there is apt-get"
      : `${isRoot() ? "" : "sudo "}${installCommand(await packagesFor(missing, manager))}`;
  return new KmendError({
    code: "REQUIREMENTS_MISSING",
    message: `not installed: ${missing.map(({ name }) => name).join(", ")}`,
    why: missing.map(({ name, why }) => `${name} ${why}`).join("\n"),
    hint,
    exitCode: ExitCode.environment,
  });
}

/** True when this process may install packages. */
function isRoot(): boolean {
  return process.geteuid?.() === 0;
}
