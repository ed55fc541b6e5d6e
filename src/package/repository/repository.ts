import { copyFile, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { exists, rethrowDiskErrors, sha256, sweepTemporaries, temporaryBeside, withLock } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { entriesBelow } from "../../support/find-files.ts";
import { makeFolder } from "../../support/make-folder.ts";
import type { RepositoryFormat, RepositoryKind, RepositoryPackage, RepositoryRequest } from "./repository-format.ts";

/** What became of a repository, as `--json` shows it. */
export interface RepositoryResult {
  readonly schema: 1;
  readonly outcome: "published";
  readonly kind: RepositoryKind;
  readonly folder: string;
  readonly packages: readonly { readonly file: string; readonly name: string; readonly version: string }[];
  /** Files of older versions that were taken out. */
  readonly removed: readonly string[];
  readonly signed: boolean;
}

/**
 * Adds packages to a repository and publishes its new index. Files of packages come first and the index's entry file last, by rename; what the index no longer
 * names is removed only then. Two runs on the same repository wait for each other.
 * @throws KmendError `REPOSITORY_KIND`, `NOT_A_PACKAGE` (exit 2), `PACKAGE_DIFFERS`, `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function updateRepository(request: RepositoryRequest): Promise<RepositoryResult> {
  const { folder, progress } = request;
  await makeFolder(folder).catch(rethrowDiskErrors);
  const kind = await kindOf(request);
  const format = kind === "dnf" ? (await import("./dnf-repository.ts")).dnf : (await import("./apt-repository.ts")).apt;
  return withLock(
    join(folder, ".kmend.lock"),
    async () => {
      await sweepAll(folder);
      await progress.phase("add", "Add packages", () => addAll(request, format));
      const all = await progress.phase("read", "Read the packages", () => readPool(folder, format));
      const { kept, removed } = retain(all, request.keep, format.compareVersions);
      await progress.phase("publish", "Publish the index", () => format.publish(kept, request));
      for (const { file } of removed) await rm(join(folder, file), { force: true });
      return {
        schema: 1,
        outcome: "published",
        kind,
        folder,
        packages: kept.map(({ file, name, version }) => ({ file, name, version })),
        removed: removed.map(({ file }) => file),
        signed: request.gpgKey !== undefined,
      };
    },
    {
      onWait: (owner) => progress.note(`waiting for process ${owner}, which works on this repository`),
      signal: request.signal,
    },
  );
}

/** Removes what killed processes were writing, everywhere in the repository. */
async function sweepAll(folder: string): Promise<void> {
  const entries = await entriesBelow(folder);
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
  for (const path of [folder, ...folders]) await sweepTemporaries(path);
}

async function kindOf({ folder, packages, kind }: RepositoryRequest): Promise<RepositoryKind> {
  const signs: (RepositoryKind | undefined)[] = [
    kind,
    (await exists(join(folder, "repodata"))) ? "dnf" : undefined,
    (await exists(join(folder, "dists"))) ? "apt" : undefined,
  ];
  for (const path of packages) {
    const found = path.endsWith(".rpm") ? "dnf" : path.endsWith(".deb") ? "apt" : undefined;
    if (found === undefined) {
      throw new KmendError({
        code: "NOT_A_PACKAGE",
        message: `${path} is neither an RPM nor a deb`,
        hint: "kmend package makes both",
        exitCode: ExitCode.usage,
      });
    }
    signs.push(found);
  }
  const kinds = new Set(signs.filter((sign) => sign !== undefined));
  const [only] = kinds;
  if (only !== undefined && kinds.size === 1) return only;
  throw new KmendError({
    code: "REPOSITORY_KIND",
    message: only === undefined ? `${folder} is not a repository yet` : "a repository holds either RPMs or debs",
    where: folder,
    hint: only === undefined ? "give packages to put into it, or --type" : "use a folder for each of the two",
    exitCode: ExitCode.usage,
  });
}

async function addAll({ folder, packages }: RepositoryRequest, format: RepositoryFormat): Promise<void> {
  const pool = join(folder, format.pool);
  await makeFolder(pool).catch(rethrowDiskErrors);
  for (const path of packages) {
    // Reads it before anything is written, so that what is no package does not get in.
    await format.describe(path, basename(path));
    const target = join(pool, basename(path));
    if (await exists(target)) {
      if (sha256(await readFile(target)) === sha256(await readFile(path))) continue;
      throw new KmendError({
        code: "PACKAGE_DIFFERS",
        message: `${basename(path)} is in the repository already, with other content`,
        where: target,
        why: "hosts that have installed that version would never get the new content",
        hint: "give the package a higher version or release",
      });
    }
    const temporary = temporaryBeside(target);
    try {
      await copyFile(path, temporary);
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      rethrowDiskErrors(error);
    }
  }
}

async function readPool(folder: string, format: RepositoryFormat): Promise<readonly RepositoryPackage[]> {
  const names = (await readdir(join(folder, format.pool))).filter((name) => name.endsWith(format.ending)).sort();
  const packages: RepositoryPackage[] = [];
  for (const name of names) {
    if (!name.startsWith("."))
      packages.push(await format.describe(join(folder, format.pool, name), join(format.pool, name)));
  }
  return packages;
}

/** Divides packages into the newest `keep` versions of each name and architecture, and the rest. */
export function retain(
  packages: readonly RepositoryPackage[],
  keep: number | undefined,
  compare: (a: string, b: string) => number,
): { readonly kept: readonly RepositoryPackage[]; readonly removed: readonly RepositoryPackage[] } {
  if (keep === undefined) return { kept: packages, removed: [] };
  const removed = new Set<RepositoryPackage>();
  const groups = new Map<string, RepositoryPackage[]>();
  for (const entry of packages) {
    const key = `${entry.name} ${entry.architecture}`;
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  for (const group of groups.values()) {
    const newestFirst = [...group].sort((a, b) => compare(b.version, a.version));
    for (const old of newestFirst.slice(keep)) removed.add(old);
  }
  return { kept: packages.filter((entry) => !removed.has(entry)), removed: [...removed] };
}
