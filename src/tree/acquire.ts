import { mkdir, readdir } from "node:fs/promises";
import { rethrowDiskErrors } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { runGuarded } from "./guard.ts";

/**
 * Unpacks a kernel source archive into `folder`, without the archive's own top folder.
 * @param guard lock file, see {@link runGuarded}.
 * @throws KmendError `SOURCE_DAMAGED` when it cannot be unpacked or is not a kernel source, `NO_SPACE`.
 */
export async function unpackSource(
  archive: string,
  folder: string,
  guard: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(folder, { recursive: true }).catch(rethrowDiskErrors);
  // Debian compresses its source in blocks, which xz can unpack on all cores; other formats ignore the setting.
  const result = await runGuarded(
    guard,
    "tar",
    ["-xf", archive, "-C", folder, "--strip-components=1", "--no-same-owner"],
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
      hint: "remove this file and run again: it is then fetched anew",
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
