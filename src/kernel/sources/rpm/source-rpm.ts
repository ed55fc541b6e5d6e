import { mkdir, readdir, rm } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { exists, rethrowDiskErrors, sweepTemporaries, temporaryBeside, withLock } from "../../../support/cache.ts";
import { environmentVariable } from "../../../support/environment.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { type RunResult, run } from "../../../support/run.ts";
import type { DistributionContext } from "../distribution/distribution.ts";
import { packTree } from "../pack-tree.ts";
import { readTreeVersion } from "../source-tree.ts";
import { databaseOptions, nameVersionRelease, type RpmFile, unpackRpm } from "./rpm-file.ts";
import { distributionMacros } from "./spec-macros.ts";

/** What a source RPM is prepared for. */
export interface SourceRpmRequest {
  readonly rpm: RpmFile;
  /** Architecture of the kernel packages, for example `x86_64`; a spec may apply patches to one only. */
  readonly architecture: string;
  /** The kernel's release, whose first two numbers the source must have. */
  readonly release: string;
}

/**
 * The kernel source that the `%prep` of a source RPM's spec makes, as an archive with one top folder. It is made once for each source RPM, in folders of
 * its own.
 * @throws KmendError `SOURCE_RPM_NOT_PREPARED`, `SOURCE_RPM_WITHOUT_KERNEL`, `SOURCE_OF_OTHER_VERSION`, and those of {@link unpackRpm}.
 */
export async function preparedSource(request: SourceRpmRequest, context: DistributionContext): Promise<string> {
  const { rpm } = request;
  const folder = join(context.cache, "rpms");
  const stem = join(folder, `${nameVersionRelease(rpm)}-${rpm.digest.slice(0, 16)}`);
  const archive = `${stem}-${request.architecture}.tar.zst`;
  if (await exists(archive)) return archive;
  await withLock(
    `${stem}.lock`,
    async () => {
      if (await exists(archive)) return;
      await sweepTemporaries(folder);
      await context.progress.phase("source-rpm", "Prepare the source RPM", (status) =>
        prepare(request, archive, `${stem}-prep.log`, context, status),
      );
    },
    {
      onWait: (pid) => context.progress.note(`process ${pid} is preparing the same source RPM; waiting for it`),
      signal: context.signal,
    },
  );
  return archive;
}

async function prepare(
  request: SourceRpmRequest,
  archive: string,
  log: string,
  context: DistributionContext,
  status: (text: string) => void,
): Promise<void> {
  const { rpm, release } = request;
  const { signal } = context;
  const top = temporaryBeside(join(context.cache, "rpms", "prep"));
  try {
    status("unpacking");
    // %prep is run from files whose modes are the package's.
    await mkdir(top, { mode: 0o700 }).catch(rethrowDiskErrors);
    await unpackRpm(rpm, join(top, "SOURCES"), [], context);
    status("running %prep of its spec");
    await runPrep(request, top, log, context);
    const tree = await findTree(rpm, join(top, "BUILD"));
    await requireVersion(tree, release, rpm);
    status("packing the prepared source");
    await packTree(tree, archive, signal);
    await rm(log, { force: true });
  } finally {
    // What %prep started may still write when it is interrupted.
    await rm(top, { recursive: true, force: true, maxRetries: 5 });
  }
}

/**
 * Runs `rpmbuild -bp`. Build requirements are not asked for (`--nodeps`): nothing is built, and on a machine of another distribution no package could
 * meet them; a program that `%prep` lacks makes it fail with that program's name.
 */
async function runPrep(
  { rpm, architecture }: SourceRpmRequest,
  top: string,
  log: string,
  context: DistributionContext,
): Promise<void> {
  const [spec, ...others] = rpm.specs;
  if (spec === undefined || others.length > 0) {
    throw notPrepared(rpm, `it holds ${rpm.specs.length} spec files`, "check where this source RPM comes from");
  }
  for (const name of ["BUILD", "tmp", "home"]) await makeFolder(join(top, name)).catch(rethrowDiskErrors);
  await rm(log, { force: true });
  const path = join(top, "SOURCES", spec);
  const macros: Record<string, string> = {
    _topdir: top,
    _sourcedir: join(top, "SOURCES"),
    _specdir: join(top, "SOURCES"),
    _builddir: join(top, "BUILD"),
    _buildrootdir: join(top, "BUILDROOT"),
    _rpmdir: join(top, "RPMS"),
    _srcrpmdir: join(top, "SRPMS"),
    _tmppath: join(top, "tmp"),
    // Distributions with RPMs have bash as /bin/sh, and their specs rely on it.
    _buildshell: "/bin/bash",
    // The specs of Fedora and RHEL stop at configuration options that are new to the compiler at hand; the configuration comes from the kernel's own package.
    _without_configchecks: "1",
  };
  const settings = {
    cwd: top,
    // Nothing of the user's, whose ~/.rpmmacros could change what is made; %prep may leave a ~/.gitconfig.
    env: { PATH: environmentVariable("PATH") ?? "", HOME: join(top, "home"), TMPDIR: join(top, "tmp") },
    cleanEnv: true,
    signal: context.signal,
    allowFailure: true,
  };
  const words = ["--target", architecture, ...databaseOptions(context.cache)];
  const distribution = await distributionMacros(rpm, async (guess) => {
    const query = ["-q", "--srpm", ...words, ...defines({ ...macros, ...guess }), "--qf", "%{RELEASE}\\n", path];
    const { stdout } = await run("rpmspec", query, settings);
    return stdout.split("\n")[0] ?? "";
  });
  const prep = ["-bp", "--nodeps", ...words, ...defines({ ...macros, ...distribution }), path];
  // One stream: of two, the order in which they were written is not known, and the reason may come to stand behind rpmbuild's summary.
  const result = await run("sh", ["-c", 'exec "$@" 2>&1', "sh", "rpmbuild", ...prep], { ...settings, logFile: log });
  context.signal?.throwIfAborted();
  if (result.exitCode !== 0) throw explainPrep(rpm, result, log);
}

function defines(macros: Readonly<Record<string, string>>): string[] {
  return Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value.replaceAll("%", "%%")}`]);
}

/** How many of the log's last lines an error repeats. */
const tailLines = 15;

/** An unknown macro is left in the script as it is, and a word that begins with `%` names a job of the shell; each shell says otherwise that there is none. */
const unknownMacro = /\bfg: \S|%\w+: (?:command )?not found/;

function explainPrep(rpm: RpmFile, { all }: RunResult, log: string): KmendError {
  if (/No space left on device/.test(all)) rethrowDiskErrors(new Error("No space left on device"));
  // rpmbuild repeats itself at the end.
  const lines =
    all
      .split(/\n+(?:RPM build errors:|RPM build warnings:)/)[0]
      ?.trimEnd()
      .split("\n") ?? [];
  const missing = /(?:line \d+: |sh: )?([^\s%]\S*): (?:command )?not found/.exec(all)?.[1];
  const advice =
    missing !== undefined
      ? `install ${missing}, which %prep runs, and try again`
      : unknownMacro.test(all)
        ? "the spec uses a macro that this machine's rpm does not have: install the distribution's RPM macros, or run kmend on that distribution"
        : "run rpmbuild -bp on the distribution that the source RPM is of, and give the tree that it makes with --source DIR";
  return notPrepared(rpm, lines.slice(-tailLines).join("\n"), `${advice}; the full log is ${log}`);
}

function notPrepared(rpm: RpmFile, why: string, hint: string): KmendError {
  return new KmendError({
    code: "SOURCE_RPM_NOT_PREPARED",
    message: "the source RPM cannot be prepared: %prep of its spec failed",
    where: rpm.path,
    why,
    hint,
    exitCode: ExitCode.environment,
  });
}

/** How deep a kernel lies below BUILD at most: `kernel-6.8/linux-6.8-300.fc40.x86_64`, below one more folder since RPM 4.20. */
const treeDepth = 3;

/** What is below BUILD; below its one folder of the package, where RPM 4.20 and later put everything. */
async function namesIn(build: string): Promise<string[]> {
  const names = await readdir(build);
  const [folder] = names.filter((name) => name.endsWith("-build"));
  if (folder === undefined) return names;
  return (await readdir(join(build, folder))).filter((name) => name !== "SPECPARTS");
}

async function findTree(rpm: RpmFile, build: string): Promise<string> {
  const trees = await treesIn(build, treeDepth);
  // Some specs keep the source without their patches beside the patched one.
  const patched = trees.filter((path) => !basename(path).startsWith("vanilla"));
  const exact = patched.filter((path) => path.includes(`${rpm.version}-${rpm.release}`));
  const [tree, ...more] = patched.length > 1 ? exact : patched;
  if (tree !== undefined && more.length === 0) return tree;
  // Below the folder of the package, see namesIn().
  const names = patched.map((path) => relative(build, path).replace(/^[^/]+-build\//, ""));
  throw new KmendError({
    code: "SOURCE_RPM_WITHOUT_KERNEL",
    message: `%prep of the source RPM made ${names.length === 0 ? "no kernel source" : `${names.length} kernel sources`}`,
    where: rpm.path,
    why:
      names.length === 0
        ? `it left ${(await namesIn(build)).join(", ") || "nothing"}`
        : `they are ${names.join(", ")}, and no name shows which one the packages are built from`,
    hint: "give the source RPM that the kernel's packages name (rpm -qi), or a source tree with --source DIR",
    exitCode: ExitCode.usage,
  });
}

async function treesIn(folder: string, depth: number): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = new Set(entries.map(({ name }) => name));
  if (["Makefile", "Kbuild", "scripts", "kernel"].every((name) => names.has(name))) return [folder];
  if (depth === 0) return [];
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  return (await Promise.all(folders.map((path) => treesIn(path, depth - 1)))).flat().sort();
}

async function requireVersion(tree: string, release: string, rpm: RpmFile): Promise<void> {
  const { major, minor } = await readTreeVersion(tree);
  if (release.startsWith(`${major}.${minor}.`) || release.startsWith(`${major}.${minor}-`)) return;
  throw new KmendError({
    code: "SOURCE_OF_OTHER_VERSION",
    message: `the source RPM holds Linux ${major}.${minor}, the kernel is ${release}`,
    where: rpm.path,
    why: "a patch module can only be proven from exactly the source that the kernel was built from",
    hint: "give the source RPM that the kernel's packages name (rpm -qi)",
    exitCode: ExitCode.usage,
  });
}
