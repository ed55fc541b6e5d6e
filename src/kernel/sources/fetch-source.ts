import { readdir, rm, writeFile } from "node:fs/promises";
import { rethrowDiskErrors } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { runGuarded } from "../tree/guard.ts";

/** Where a tree comes from: an archive with one top folder, or a tree of the user's of which the named files are copied. */
export type TreeSource =
  | {
      readonly kind: "archive";
      readonly path: string;
      /** Folder with a file `series` and the patches that it lists. */
      readonly patches?: string | undefined;
    }
  | {
      readonly kind: "tree";
      readonly path: string;
      readonly files: readonly string[];
      readonly isUnchanged: () => Promise<boolean>;
    };

/**
 * Fills the new folder `folder` with the kernel source.
 * @param guard lock file, see {@link runGuarded}.
 * @throws KmendError errors of {@link unpackSource}, {@link applySeries} and {@link copySource}.
 */
export async function acquireSource(
  source: TreeSource,
  folder: string,
  guard: string,
  signal?: AbortSignal,
): Promise<void> {
  if (source.kind === "tree") return copySource(source, folder, guard, signal);
  await unpackSource(source.path, folder, guard, signal);
  if (source.patches !== undefined) await applySeries(source.patches, folder, guard, signal);
}

/** Lines of `series` are names of patches; what follows a blank or a hash is for quilt(1) alone. */
const seriesScript =
  'while read -r name rest || [ -n "$name" ]; do case $name in ""|"#"*) continue ;; esac; ' +
  'patch --silent --force -p1 --no-backup-if-mismatch --reject-file=- -i "$1/$name" || { echo "$name"; exit 1; }; done <"$1/series"';

/**
 * Applies a series of patches.
 * @throws KmendError `SOURCE_DAMAGED` for one that does not apply.
 */
async function applySeries(
  patches: string,
  folder: string,
  guard: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const options = { cwd: folder, signal, allowFailure: true };
  const result = await runGuarded(guard, "sh", ["-c", seriesScript, "series", patches], options);
  signal?.throwIfAborted();
  if (result.exitCode === 0) return;
  const why = result.all.trimEnd().split("\n").slice(-5).join("\n");
  if (/No space left on device/.test(why)) rethrowDiskErrors(new Error("No space left on device"));
  throw new KmendError({
    code: "SOURCE_DAMAGED",
    message: "the distribution's patches do not apply to its source",
    where: patches,
    why,
    hint: "remove this folder and run again: kmend fetches the patches again",
    cause: result,
  });
}

/**
 * Copies files of a tree of the user's, with their times; only the user may write to the copy. tar does it twice as fast as cp with a list of names.
 * @throws KmendError `SOURCE_CHANGED` when somebody writes into the tree meanwhile, `SOURCE_UNREADABLE`, `NO_SPACE`.
 */
async function copySource(
  source: TreeSource & { kind: "tree" },
  folder: string,
  guard: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const list = `${folder}.files`;
  await makeFolder(folder).catch(rethrowDiskErrors);
  await writeFile(list, source.files.join("\0")).catch(rethrowDiskErrors);
  const script =
    'set -o pipefail; tar -C "$1" --no-recursion --null --verbatim-files-from -T "$2" --format=posix -cf - | tar -C "$3" --no-same-owner --no-same-permissions -xf -';
  const words = ["-c", script, "copy", source.path, list, folder];
  const result = await runGuarded(guard, "bash", words, { signal, allowFailure: true });
  await rm(list, { force: true });
  signal?.throwIfAborted();
  const why = result.all.trimEnd().split("\n").slice(-5).join("\n");
  if (/No space left on device|Wrote only \d+ of/.test(why)) rethrowDiskErrors(new Error("No space left on device"));
  if (!(await source.isUnchanged())) {
    throw new KmendError({
      code: "SOURCE_CHANGED",
      message: "the kernel source tree changed while it was copied",
      where: source.path,
      hint: "wait until whatever is writing to the tree has finished, then try again",
    });
  }
  if (result.exitCode === 0) return;
  throw new KmendError({
    code: "SOURCE_UNREADABLE",
    message: "the kernel source tree cannot be copied",
    where: source.path,
    why,
    hint: "run kmend as a user who can read all of it",
    cause: result,
  });
}

/**
 * Unpacks a kernel source archive into `folder`, without the archive's own top folder. What others may write to in the archive they may not write to
 * here, also when root unpacks it: the tree's programs are run.
 * @param guard lock file, see {@link runGuarded}.
 * @throws KmendError `SOURCE_DAMAGED` when it cannot be unpacked or is not a kernel source, `NO_SPACE`.
 */
async function unpackSource(archive: string, folder: string, guard: string, signal?: AbortSignal): Promise<void> {
  await makeFolder(folder).catch(rethrowDiskErrors);
  // Debian compresses its source in blocks, which xz can unpack on all cores; other formats ignore the setting.
  const result = await runGuarded(
    guard,
    "tar",
    ["-xf", archive, "-C", folder, "--strip-components=1", "--no-same-owner", "--no-same-permissions"],
    {
      env: { XZ_DEFAULTS: "-T0" },
      signal,
      allowFailure: true,
    },
  );
  signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    const why = result.all.trimEnd().split("\n").slice(-5).join("\n");
    if (/No space left on device|Wrote only \d+ of/.test(why)) rethrowDiskErrors(new Error("No space left on device"));
    throw new KmendError({
      code: "SOURCE_DAMAGED",
      message: "the kernel source archive cannot be unpacked",
      where: archive,
      why,
      hint: "remove this file and run again: kmend fetches it again",
      cause: result,
    });
  }
  const names = new Set(await readdir(folder));
  if (["Makefile", "Kbuild", "scripts", "kernel"].every((name) => names.has(name))) return;
  throw new KmendError({
    code: "SOURCE_DAMAGED",
    message: "the source archive does not hold a Linux kernel",
    where: archive,
    why: `its top folder holds ${[...names].slice(0, 10).join(", ")}`,
    hint: "check where this archive comes from",
  });
}
