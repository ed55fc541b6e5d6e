import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { TargetKernel } from "../kernel/target-kernel.ts";

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
  for (const folder of await documentFolders(kernel)) {
    for (const name of ["changelog.Debian.gz", "changelog.gz"]) {
      const packed = await readFile(join(folder, name)).catch(() => undefined);
      if (packed === undefined) continue;
      const text = await promisify(gunzip)(packed, { maxOutputLength: limit }).catch(() => Buffer.alloc(0));
      const found = new Set(text.toString("utf8").match(/\bCVE-\d{4}-\d{4,10}\b/g));
      if (found.size > 0) return found;
    }
  }
  return new Set();
}

/** Folders of documents of the packages of a kernel, whose image is in /boot or beside the modules, of the system or of an unpacked package. */
async function documentFolders({
  imagePath,
  release,
}: Pick<TargetKernel, "imagePath" | "release">): Promise<readonly string[]> {
  const root = dirname(imagePath).replace(/\/(?:boot|(?:usr\/)?lib\/modules\/[^/]+)$/, "") || "/";
  // Packages that split a kernel share the documents of one of them: `<package>_<version>` beside that of the image.
  const version = /_[^_/]+$/.exec(basename(root))?.[0];
  const beside = version === undefined ? [] : await readdir(dirname(root)).catch((): string[] => []);
  const parts = beside.filter((name) => name.endsWith(`-${release}${version}`));
  const found: string[] = [];
  for (const folder of new Set([root, ...parts.map((name) => join(dirname(root), name))])) {
    const docs = join(folder, "usr", "share", "doc");
    const names = await readdir(docs).catch((): string[] => []);
    found.push(...names.filter((name) => name.endsWith(release)).map((name) => join(docs, name)));
  }
  return found;
}
