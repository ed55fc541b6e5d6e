import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, rethrowDiskErrors, temporaryBeside, withLock } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { run } from "../../../support/run.ts";
import { aptOptions, type PackageVersion } from "./apt.ts";
import { type AptContext, packagesFolder } from "./apt-archive.ts";
import { explainDownloadFailure } from "./apt-failures.ts";

/**
 * The patches that one set of flavours is built with beside those in `linux-source-…`: Debian keeps them in its source package, in
 * `debian/patches-<set>` with a file `series` (quilt(1)). The system's package lists and sources are not changed: the source entries are made from its
 * own and read into a folder of the cache, so that apt checks the archive's signature.
 * @param set for example `rt`.
 * @returns folder with `series` and the patches.
 * @throws KmendError `PATCHES_NOT_OFFERED` (exit 5)
 */
export async function sourcePatches(source: PackageVersion, set: string, context: AptContext): Promise<string> {
  const packages = packagesFolder(context);
  const folder = join(packages, `patches-${set}_${source.name}_${source.version}`);
  if (await exists(folder)) return folder;
  const fetch = async (): Promise<string> => {
    if (await exists(folder)) return folder;
    const work = temporaryBeside(folder);
    try {
      await context.progress.phase("patches", `Fetch the distribution's ${set} patches`, () =>
        fetchInto(work, source, set, context),
      );
      await rename(join(work, "debian", `patches-${set}`), folder).catch(rethrowDiskErrors);
      return folder;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  };
  return withLock(`${folder}.lock`, fetch, {
    onWait: (pid) => context.progress.note(`process ${pid} is fetching the same patches; waiting for it`),
    signal: context.signal,
  });
}

async function fetchInto(
  work: string,
  source: PackageVersion,
  set: string,
  { apt: machine, signal }: AptContext,
): Promise<void> {
  const sources = join(work, "sources");
  const lists = join(work, "lists");
  for (const path of [sources, join(lists, "partial")]) await makeFolder(path).catch(rethrowDiskErrors);
  for (const [name, text] of await sourceEntries(machine.sources)) await writeFile(join(sources, name), text);
  const own = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", `Dir::Etc::SourceParts=${sources}`];
  const state = ["-o", `Dir::State::Lists=${lists}`, "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="];
  const apt = [...aptOptions, ...machine.options, ...own, ...state, "-o", "Acquire::Languages=none"];
  // An archive of somebody else's may have no sources; what counts is whether the package is found.
  const updated = await run("apt-get", [...apt, "update"], { signal, allowFailure: true });
  signal?.throwIfAborted();
  const spec = `${source.name}=${source.version}`;
  const words = [...apt, "source", "--download-only", "--diff-only", spec];
  const result = await run("apt-get", words, { cwd: work, signal, allowFailure: true });
  signal?.throwIfAborted();
  const archive = (await readdir(work)).find((name) => /\.debian\.tar\.\w+$/.test(name));
  if (result.exitCode !== 0 || archive === undefined) {
    const failed = result.exitCode !== 0 ? result : updated;
    throw notOffered(spec, set, explainDownloadFailure(failed, `downloading ${spec}`).why ?? "");
  }
  const part = `debian/patches-${set}`;
  const unpacked = await run("tar", ["-xf", archive, "--no-same-owner", "--no-same-permissions", part], {
    ...{ cwd: work, signal, allowFailure: true },
  });
  signal?.throwIfAborted();
  if (unpacked.exitCode === 0 && (await exists(join(work, part, "series")))) return;
  throw notOffered(spec, set, `${archive} holds no ${part}/series`);
}

function notOffered(spec: string, set: string, why: string): KmendError {
  return new KmendError({
    code: "PATCHES_NOT_OFFERED",
    message: `the archive does not have the ${set} patches that belong to ${spec}`,
    why,
    hint: "choose another version of this kernel with --kernel: the archive may have the source package of an older one",
    exitCode: ExitCode.environment,
  });
}

/**
 * The package sources of this machine, asked for source packages (sources.list(5)): the one-line form, and stanzas.
 * @returns file names and texts.
 */
export async function sourceEntries(folder: string): Promise<ReadonlyMap<string, string>> {
  const parts = join(folder, "sources.list.d");
  const names = (await readdir(parts).catch(() => [])).filter((name) => /\.(list|sources)$/.test(name));
  const files = [
    ["kmend-sources.list", join(folder, "sources.list")],
    ...names.map((name) => [name, join(parts, name)]),
  ];
  const entries = new Map<string, string>();
  for (const [name = "", path = ""] of files) {
    const text = await readFile(path, "utf8").catch(() => "");
    const asked = name.endsWith(".sources")
      ? text.replaceAll(/^Types:.*$/gim, "Types: deb-src")
      : text
          .split("\n")
          .filter((line) => /^\s*deb\s/.test(line))
          .map((line) => `${line.replace(/^\s*deb\s/, "deb-src ")}\n`)
          .join("");
    if (asked.trim() !== "") entries.set(name, asked);
  }
  return entries;
}
