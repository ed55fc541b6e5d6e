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

/** Where apt keeps its package lists. */
const aptLists = "/var/lib/apt/lists";

/**
 * What of the missing is needed: not what is needed only where it is offered, and which the archive does not have. Without package lists nobody knows what
 * the archive has, and all of it is.
 */
export async function neededOf(
  missing: readonly Requirement[],
  manager: PackageManager | undefined,
  packageLists = aptLists,
): Promise<readonly Requirement[]> {
  const isKnown = manager !== undefined && (await hasPackageLists(packageLists));
  if (!isKnown) return missing;
  const offered = await Promise.all(
    missing.map(
      async ({ whereOffered, packages }) =>
        whereOffered !== true || (await firstOffered(packages[manager])) !== undefined,
    ),
  );
  return missing.filter((_, index) => offered[index] === true);
}

async function firstOffered(names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const { exitCode } = await run("apt-cache", ["show", "--no-all-versions", name], { allowFailure: true });
    if (exitCode === 0) return name;
  }
  return undefined;
}

/** Packages for what is missing, each once, sorted. With a choice, the first that the archive has; the first of all when it has none. */
export async function packagesFor(
  missing: readonly Requirement[],
  manager: PackageManager,
): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const { packages } of missing) {
    const choice = packages[manager];
    names.add((choice.length > 1 ? await firstOffered(choice) : undefined) ?? choice[0]);
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
 * Installs what of the missing is needed with apt-get, as root and without a question. Package lists are fetched first when there are none, since they tell
 * what is needed and offered, and again when the install fails, since an old list names files that the archive no longer has.
 * @throws KmendError `PROGRAM_FAILED` with apt-get's last lines.
 */
async function installMissing(
  missing: readonly Requirement[],
  manager: PackageManager,
  options: InstallOptions,
): Promise<void> {
  const settings = { env: { DEBIAN_FRONTEND: "noninteractive" }, signal: options.signal };
  const update = async (): Promise<void> => {
    await options.progress.phase("apt-update", "Fetch package lists", () => run("apt-get", ["update", "-q"], settings));
  };
  const fresh = !(await hasPackageLists(options.packageLists ?? aptLists));
  if (fresh) await update();
  const packages = await packagesFor(await neededOf(missing, manager, options.packageLists), manager);
  if (packages.length === 0) return;
  options.progress.note(`installing what is missing: ${packages.join(" ")} (--no-install forbids it)`);
  const install = async (allowFailure: boolean): Promise<boolean> => {
    const args = ["install", "-y", "-q", "--no-install-recommends", ...packages];
    const { exitCode } = await run("apt-get", args, { ...settings, allowFailure });
    return exitCode === 0;
  };
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
  const manager = await detectPackageManager();
  const missing = await missingOf(options, manager);
  if (missing.length === 0) return;
  if (manager === undefined || !options.install || !isRoot()) throw await missingError(missing, manager);
  await installMissing(missing, manager, options);
  const still = await missingOf(options, manager);
  if (still.length > 0) throw await missingError(still, manager);
}

async function missingOf(
  { needs, table, packageLists }: EnsureOptions,
  manager: PackageManager | undefined,
): Promise<readonly Requirement[]> {
  const statuses = await checkRequirements(needs, table);
  const missing = statuses.filter(({ foundAt }) => foundAt === undefined).map(({ requirement }) => requirement);
  return neededOf(missing, manager, packageLists);
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
