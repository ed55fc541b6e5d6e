import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  exists,
  makeOnce,
  rethrowDiskErrors,
  sweepTemporaries,
  temporaryBeside,
  withLock,
} from "../../../support/cache.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { type RunResult, run } from "../../../support/run.ts";
import { type AptContext, packagesFolder } from "./apt-archive.ts";
import { explainDownloadFailure, explainUnpackFailure } from "./apt-failures.ts";

/** One package in one version. */
export interface PackageVersion {
  readonly name: string;
  readonly version: string;
}

/** One version of a package as `apt-cache show` describes it: field name (lower case) to value. */
export type Stanza = ReadonlyMap<string, string>;

/**
 * Options for every apt-get call. The sandbox user cannot write into a folder of root's and apt then prints a warning, so root downloads as root.
 * A dead mirror must not hang a build: 30 s, twice.
 */
export const aptOptions: readonly string[] = [
  "-q",
  "-o",
  "APT::Sandbox::User=root",
  "-o",
  "Acquire::Retries=2",
  "-o",
  "Acquire::http::Timeout=30",
  "-o",
  "Acquire::https::Timeout=30",
];

/** Names of all packages whose name starts with `prefix`. */
export async function packageNames(prefix: string, { apt, signal }: AptContext): Promise<string[]> {
  const { stdout } = await run("apt-cache", ["pkgnames", prefix, ...apt.options], { signal });
  return stdout.split("\n").filter((name) => name !== "");
}

/** Every known version of the packages, offered by an archive (those have a `filename`) or only installed. */
export async function describePackages(names: readonly string[], { apt, signal }: AptContext): Promise<Stanza[]> {
  if (names.length === 0) return [];
  const { stdout } = await run("apt-cache", ["show", ...names, ...apt.options], { signal, allowFailure: true });
  return parseStanzas(stdout);
}

/** The version of a package that apt would install (apt_preferences(5)), or undefined where it knows none. */
export async function describeCandidate(name: string, { apt, signal }: AptContext): Promise<Stanza | undefined> {
  const words = ["show", "--no-all-versions", name, ...apt.options];
  const { stdout } = await run("apt-cache", words, { signal, allowFailure: true });
  return parseStanzas(stdout)[0];
}

/** Parses deb822 paragraphs (deb822(5)); continuation lines are dropped. */
export function parseStanzas(text: string): Stanza[] {
  const stanzas: Stanza[] = [];
  for (const paragraph of text.split(/\n\n+/)) {
    const fields = new Map<string, string>();
    for (const line of paragraph.split("\n")) {
      const match = /^([^\s:]+):\s*(.*)$/.exec(line);
      if (match !== null) fields.set((match[1] as string).toLowerCase(), match[2] as string);
    }
    if (fields.size > 0) stanzas.push(fields);
  }
  return stanzas;
}

/** Installed versions of the packages that match the patterns, by name. */
export async function installedVersions(
  patterns: readonly string[],
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const format = `\${Package}\t\${Version}\t\${db:Status-Abbrev}\n`;
  // dpkg-query fails when one of the patterns matches nothing, and prints the rest.
  const { stdout } = await run("dpkg-query", ["-W", `-f=${format}`, ...patterns], { signal, allowFailure: true });
  const versions = new Map<string, string>();
  for (const line of stdout.split("\n")) {
    const [name, version, status] = line.split("\t");
    if (name !== undefined && version !== undefined && status?.startsWith("ii") === true) versions.set(name, version);
  }
  return versions;
}

/** True when this process may change the package lists. */
export function mayUpdateLists({ file }: AptContext["apt"]): boolean {
  return file !== undefined || process.getuid?.() === 0;
}

/** Runs `apt-get update`. @throws KmendError `NO_NETWORK` or what apt-get said. */
export async function updateLists(context: AptContext): Promise<void> {
  const { apt } = context;
  const whose = apt.file === undefined ? "the package lists" : `the package lists of ${apt.file}`;
  context.progress.note(`${whose} are missing or out of date: running apt-get update`);
  const words = [...aptOptions, ...apt.options, "-o", "APT::Update::Error-Mode=any", "update"];
  const result = await run("apt-get", words, {
    signal: context.signal,
    allowFailure: true,
  });
  context.signal?.throwIfAborted();
  if (result.exitCode !== 0) throw explainDownloadFailure(result, "apt-get update", apt);
}

/**
 * Folders that hold the unpacked content of the packages and, in `DEBIAN`, their control files, in their order: `<name>_<version>` in {@link packagesFolder}. Missing ones are downloaded together
 * and unpacked; a package that was not downloaded and unpacked to its end leaves nothing. Processes that want the same package wait for each other.
 */
export async function unpackedPackages(
  packages: readonly PackageVersion[],
  context: AptContext,
  status: (text: string) => void = () => {},
): Promise<string[]> {
  const root = packagesFolder(context);
  const folders = packages.map(({ name, version }) => join(root, `${name}_${version}`));
  if ((await missingOf(packages, folders)).length === 0) return folders;
  const lock = join(root, `${packages.map(({ name }) => name).join("+")}.lock`);
  await withLock(
    lock,
    async () => {
      // A process that a killed run left behind may still write into its folder, which then goes next time.
      await sweepTemporaries(root).catch(() => {});
      const missing = await missingOf(packages, folders);
      if (missing.length > 0) await downloadAndUnpack(missing, root, context, status);
    },
    {
      onWait: (pid) => status(`process ${pid} is downloading the same packages; waiting for it`),
      signal: context.signal,
    },
  );
  return folders;
}

async function missingOf(
  packages: readonly PackageVersion[],
  folders: readonly string[],
): Promise<{ spec: PackageVersion; folder: string }[]> {
  const missing: { spec: PackageVersion; folder: string }[] = [];
  for (const [index, spec] of packages.entries()) {
    const folder = folders[index] as string;
    if (!(await exists(folder))) missing.push({ spec, folder });
  }
  return missing;
}

async function downloadAndUnpack(
  missing: readonly { spec: PackageVersion; folder: string }[],
  root: string,
  context: AptContext,
  status: (text: string) => void,
): Promise<void> {
  const download = temporaryBeside(join(root, "download"));
  await makeFolder(download).catch(rethrowDiskErrors);
  try {
    status(`downloading ${missing.map(({ spec }) => spec.name).join(", ")}`);
    await downloadInto(
      download,
      missing.map(({ spec }) => spec),
      context,
    );
    const archives = await readdir(download);
    await Promise.all(
      missing.map(async ({ spec, folder }) => {
        const archive = archives.find((name) => name.startsWith(`${spec.name}_`) && name.endsWith(".deb"));
        if (archive === undefined) throw new Error(`apt-get downloaded no ${spec.name}: ${archives.join(" ")}`);
        const path = join(download, archive);
        const megabytes = Math.round((await stat(path)).size / 1e6);
        status(`unpacking ${spec.name} (${megabytes} MB)`);
        await makeOnce(folder, async (temporary) => {
          const result = await run("dpkg-deb", ["-R", path, temporary], { signal: context.signal, allowFailure: true });
          context.signal?.throwIfAborted();
          if (result.exitCode !== 0) throw explainUnpackFailure(result, archive);
        });
      }),
    );
  } finally {
    await rm(download, { recursive: true, force: true });
  }
}

async function downloadInto(folder: string, packages: readonly PackageVersion[], context: AptContext): Promise<void> {
  const { apt } = context;
  const specs = packages.map(({ name, version }) => `${name}=${version}`);
  const attempt = (): Promise<RunResult> =>
    run("apt-get", [...aptOptions, ...apt.options, "download", ...specs], {
      cwd: folder,
      signal: context.signal,
      allowFailure: true,
    });
  let result = await attempt();
  if (result.exitCode !== 0 && isOutdated(result) && mayUpdateLists(apt)) {
    await updateLists(context);
    result = await attempt();
  }
  context.signal?.throwIfAborted();
  if (result.exitCode !== 0) throw explainDownloadFailure(result, `downloading ${specs.join(" ")}`, apt);
}

/**
 * Downloads a source package, where the archive's sources are configured.
 * @returns false when no configured archive has it.
 * @throws KmendError why the download failed.
 */
export async function downloadSource(
  { name, version }: PackageVersion,
  folder: string,
  context: AptContext,
): Promise<boolean> {
  const words = [...aptOptions, ...context.apt.options, "source", "--download-only", `${name}=${version}`];
  const result = await run("apt-get", words, { cwd: folder, signal: context.signal, allowFailure: true });
  context.signal?.throwIfAborted();
  if (result.exitCode === 0) return true;
  if (/deb-src|Unable to find a source package|Can't find|Can not find version/.test(result.all)) return false;
  throw explainDownloadFailure(result, `downloading the source package ${name}=${version}`, context.apt);
}

/** The archive no longer has the file that the local lists name. */
function isOutdated(result: RunResult): boolean {
  return /\b404\b/.test(result.all);
}
