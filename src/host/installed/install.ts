import { chmod, chown, open, readFile, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exists, rethrowDiskErrors, sweepTemporaries, temporaryBeside } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { findProgram } from "../../support/find-program.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { SilentProgress } from "../../support/progress.ts";
import { run } from "../../support/run.ts";
import { type BootPlan, planBoot, reasonsAgainstInitramfs } from "../boot/boot-plan.ts";
import { bootRecordsOf, removeBootRecord } from "../boot/boot-record.ts";
import { syncFolder } from "../kernel/durable.ts";
import { type Host, thisHost } from "../kernel/host.ts";
import { type HostRefusal, type HostRefusalCode, refuseOnHost } from "../kernel/host-refusals.ts";
import { readKernelBuildId } from "../kernel/kernel-facts.ts";
import { Steps } from "../kernel/steps.ts";
import { readLoadedPatch } from "../kernel/sysfs.ts";
import { type ChangeOptions, requireRoot } from "../load/load.ts";
import { type PatchFile, readPatchFile, untold } from "../load/patch-file.ts";
import { compareTargetModule } from "../load/target-modules.ts";
import { isInitramfsPlanStale } from "./initramfs-plan.ts";
import { findInstalled, installedModules, installFolder, installFolderOf, kernelModuleName } from "./installed.ts";
import { withHostLock } from "./records.ts";

/** What {@link install} and {@link uninstall} are asked to do. */
export interface InstallOptions extends Omit<ChangeOptions, "timeoutSeconds"> {
  /** Files to install; names or files of modules to uninstall. */
  readonly operands: readonly string[];
  /** Release of the kernel; default the running one. */
  readonly kernel?: string | undefined;
  /** Have all that is installed for the kernel loaded by its initramfs; it stays so until nothing is installed for it. */
  readonly initramfs?: boolean | undefined;
}

/** What became of one module. */
export interface InstalledOutcome {
  readonly name: string;
  /** Where it is installed, or was. */
  readonly path: string;
  /** `already`: the same bytes are there; `absent`: nothing of that name is. */
  readonly outcome: "installed" | "already" | "uninstalled" | "absent" | "planned" | "refused";
  readonly refusals: readonly HostRefusal[];
  readonly notes: readonly string[];
}

/** The stable `--json` of `kmend install` and `kmend uninstall`. */
export interface InstallResult {
  readonly schema: 1;
  readonly outcome: "done" | "unchanged" | "refused" | "failed";
  readonly kernel: string;
  readonly dryRun: boolean;
  readonly steps: readonly string[];
  readonly modules: readonly InstalledOutcome[];
  readonly boot: BootPlan;
}

/** SELinux type that the kernel's loader may read modules of. */
const moduleType = "modules_object_t";

/**
 * Installs patch modules for a kernel: into `/var/lib/kpatch/RELEASE`, from where its service loads them at boot. A file appears there whole or not at all.
 * The result tells whether that service is there and enabled. A module that was held back at boot is no longer.
 * @throws KmendError `NOT_ROOT`, `NOT_A_PATCH_MODULE`, `NOT_WRITABLE`, `NO_SPACE`
 */
export async function install(options: InstallOptions): Promise<InstallResult> {
  return change(options, async (host, release, steps) => {
    const files = await Promise.all(options.operands.map(readPatchFile));
    const outcomes: InstalledOutcome[] = [];
    const early = options.initramfs === true ? await reasonsAgainstInitramfs(host) : [];
    for (const file of files) outcomes.push(await installOne(host, release, file, steps, early));
    return outcomes;
  });
}

/**
 * Removes installed patch modules of a kernel. What is loaded stays loaded.
 * @throws KmendError `NOT_ROOT`
 */
export async function uninstall(options: InstallOptions): Promise<InstallResult> {
  return change(options, async (host, release, steps) => {
    const outcomes: InstalledOutcome[] = [];
    for (const operand of options.operands) outcomes.push(await uninstallOne(host, release, operand, steps));
    return outcomes;
  });
}

async function change(
  options: InstallOptions,
  work: (host: Host, release: string, steps: Steps) => Promise<readonly InstalledOutcome[]>,
): Promise<InstallResult> {
  const host = options.host ?? thisHost();
  const progress = options.progress ?? new SilentProgress();
  const dryRun = options.dryRun === true;
  const release = checkedRelease(options.kernel ?? host.release);
  requireRoot(host, dryRun);
  const steps = new Steps(dryRun);
  const all = async (): Promise<InstallResult> => {
    // What a process that was killed left half written.
    if (!dryRun) await sweepTemporaries(installFolderOf(host.root, release));
    const modules = await work(host, release, steps);
    const refusals = modules.flatMap((module) => module.refusals);
    const idle = modules.every(({ outcome }) => outcome === "absent");
    const changed = idle
      ? await isInitramfsPlanStale(host.root, release)
      : modules.some(({ outcome }) => outcome !== "absent" && outcome !== "refused");
    const boot = await planBoot(host, release, steps, changed && options.initramfs === true, changed);
    const base = { schema: 1, kernel: release, dryRun, steps: steps.texts, modules, boot } as const;
    if (refusals.length > 0) return { ...base, outcome: "refused" };
    if (boot.error !== null) return { ...base, outcome: "failed" };
    return { ...base, outcome: idle ? "unchanged" : "done" };
  };
  if (dryRun) return all();
  return withHostLock(host.root, all, {
    onWait: (owner) => progress.note(`waiting for another kmend (process ${owner})`),
    signal: options.signal,
  });
}

/** A release becomes the name of a folder that is written to and swept. @throws KmendError `USAGE`. */
function checkedRelease(release: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._+~-]*$/.test(release)) return release;
  throw new KmendError({
    code: "USAGE",
    message: `"${release}" is no release of a kernel`,
    hint: "give it as uname -r prints it",
    exitCode: ExitCode.usage,
  });
}

async function installOne(
  host: Host,
  release: string,
  file: PatchFile,
  steps: Steps,
  early: readonly HostRefusalCode[],
): Promise<InstalledOutcome> {
  const fileName = basename(file.path);
  const path = join(installFolderOf(host.root, release), fileName);
  const refusals = [
    ...(await reasonsAgainst(host, release, file)),
    ...early.map((code) => refuseOnHost(code, file.name, file.path)),
  ];
  const base = { name: file.name, path, refusals, notes: [] };
  if (refusals.length > 0) return { ...base, outcome: "refused" };
  const notes: string[] = [...untold(file)];
  if (!(await exists(join(host.root, "/lib/modules", release)))) {
    notes.push(`this system has no modules of a kernel ${release} (yet)`);
  }
  const before = await readFile(path).catch(() => undefined);
  const already = before?.equals(file.content) === true;
  if (!already) {
    if (before !== undefined) notes.push(`another build of ${file.name} was there and is replaced`);
    await writeModule(host, path, file.content, steps, notes);
  }
  // Not earlier: a build that brought the machine down must not be loaded again when this one does not get there.
  const record = join(bootRecordsOf(host.root, release), file.name);
  if (await exists(record)) {
    await steps.take(`rm ${record}`, async () => void (await removeBootRecord(host.root, release, file.name)));
    notes.push(`what is known of earlier loads of ${file.name} at boot is forgotten`);
  }
  return { ...base, outcome: already ? "already" : steps.dryRun ? "planned" : "installed", notes };
}

async function reasonsAgainst(host: Host, release: string, file: PatchFile): Promise<readonly HostRefusal[]> {
  const refusals: HostRefusal[] = [];
  const add = (code: Parameters<typeof refuseOnHost>[0], values: Record<string, string>): void => {
    refusals.push(refuseOnHost(code, file.name, file.path, values));
  };
  const fileName = basename(file.path);
  if (!/^[A-Za-z0-9_-]+\.ko$/.test(fileName)) add("FILE_NAME", { file: fileName, name: file.name });
  const verb = release === host.release ? "is running" : "is asked for";
  if (file.release !== release) {
    add("OTHER_RELEASE", { made: file.release || "none that it names", running: release, verb });
  } else if (file.manifest !== null && file.manifest.kernel.release !== release) {
    add("OTHER_RELEASE", { made: file.manifest.kernel.release, running: release, verb });
  } else if (file.manifest !== null && release === host.release) {
    const running = await readKernelBuildId(host.root);
    const made = file.manifest.kernel.buildId;
    if (running !== undefined && made !== running) add("OTHER_BUILD", { release, made: made || "(none)", running });
  }
  for (const module of file.manifest?.modules ?? []) {
    const state = await compareTargetModule(host.root, release, module, release === host.release);
    if (state.kind === "other") add("OTHER_MODULE_BUILD", { module: module.name, ...state });
  }
  const others = await installedModules(host.root, release);
  const other = others.find((entry) => entry.module?.name === file.name && entry.file !== fileName);
  if (other !== undefined) add("INSTALLED_AS", { release, file: other.file });
  return refusals;
}

/** Writes under a name that no reader looks at, makes it last, and renames it. */
async function writeModule(
  host: Host,
  path: string,
  content: Uint8Array,
  steps: Steps,
  notes: string[],
): Promise<void> {
  const folder = dirname(path);
  const temporary = temporaryBeside(path);
  try {
    await steps.take(`mkdir -p ${folder}`, async () => void (await makeFolder(folder, 0o755)));
    await steps.take(`write ${temporary}, owner root:root, mode 644, fsync`, async () => {
      const handle = await open(temporary, "wx", 0o600);
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await chmod(temporary, 0o644);
      await chown(temporary, 0, 0);
    });
    if (await exists(join(host.root, "/sys/fs/selinux/enforce"))) {
      await steps.take(`chcon -t ${moduleType} ${temporary}`, () => label(temporary, notes));
    }
    await steps.take(`mv ${temporary} ${path}`, async () => {
      await rename(temporary, path);
      await syncFolder(folder);
    });
  } catch (error) {
    await rm(temporary, { force: true });
    rethrowDiskErrors(error);
  }
}

/** With the folder's own type the module could not be loaded by the service, which is told rather than guessed around. */
async function label(path: string, notes: string[]): Promise<void> {
  const program = await findProgram("chcon");
  const result =
    program === undefined ? undefined : await run(program, ["-t", moduleType, path], { allowFailure: true });
  if (result?.exitCode === 0) return;
  notes.push(`the SELinux type ${moduleType} could not be set: ${result?.all.trim() ?? "chcon is not installed"}`);
}

async function uninstallOne(host: Host, release: string, operand: string, steps: Steps): Promise<InstalledOutcome> {
  const found = await findInstalled(host.root, release, basename(operand));
  const folder = installFolderOf(host.root, release);
  if (found === undefined) {
    // What an uninstall that was killed left.
    if (!steps.dryRun) {
      await removeBootRecord(host.root, release, kernelModuleName(operand));
      await removeEmpty(host, folder);
    }
    return { name: operand, path: join(folder, basename(operand)), outcome: "absent", refusals: [], notes: [] };
  }
  const name = found.module?.name ?? found.file.replace(/\.ko$/, "");
  const notes: string[] = [];
  if (release === host.release && (await readLoadedPatch(host.root, name)) !== undefined) {
    notes.push(`${name} stays loaded until the next boot; kmend unload ${name} takes it out now`);
  }
  await steps.take(`rm ${found.path}`, async () => {
    await rm(found.path).catch(rethrowDiskErrors);
    await syncFolder(folder);
    await removeBootRecord(host.root, release, name);
  });
  const rest = await installedModules(host.root, release);
  if (rest.every(({ file }) => file === found.file)) {
    await steps.take(`rmdir ${folder}`, () => removeEmpty(host, folder));
  }
  return { name, path: found.path, outcome: steps.dryRun ? "planned" : "uninstalled", refusals: [], notes };
}

async function removeEmpty(host: Host, folder: string): Promise<void> {
  for (const empty of [folder, join(host.root, installFolder)]) await rmdir(empty).catch(() => {});
}
