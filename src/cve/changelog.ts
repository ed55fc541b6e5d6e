import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { TargetKernel } from "../kernel/find.ts";

/** Largest changelog that is read, unpacked, in bytes. */
const limit = 256 * 1024 * 1024;

/**
 * The CVEs that the distribution says it has fixed in this kernel, by name, in the changelog of its packages (Debian policy 12.7: `changelog.Debian.gz`, or
 * `changelog.gz` of a package that is Debian's own, in `/usr/share/doc`).
 * @returns none where the kernel does not come from packages with a changelog.
 */
export async function cvesInChangelog(
  kernel: Pick<TargetKernel, "imagePath" | "release">,
): Promise<ReadonlySet<string>> {
  // The image is in /boot of the system or of the unpacked package.
  const docs = join(dirname(dirname(kernel.imagePath)), "usr", "share", "doc");
  const folders = (await readdir(docs).catch((): string[] => [])).filter((name) => name.endsWith(kernel.release));
  for (const folder of folders) {
    for (const name of ["changelog.Debian.gz", "changelog.gz"]) {
      const packed = await readFile(join(docs, folder, name)).catch(() => undefined);
      if (packed === undefined) continue;
      const text = await promisify(gunzip)(packed, { maxOutputLength: limit }).catch(() => Buffer.alloc(0));
      const found = new Set(text.toString("utf8").match(/\bCVE-\d{4}-\d{4,10}\b/g));
      if (found.size > 0) return found;
    }
  }
  return new Set();
}
