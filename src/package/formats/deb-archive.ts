import { createHash } from "node:crypto";
import { chmod, lutimes, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { rethrowDiskErrors } from "../../support/cache.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";

/** A file of a package. */
export type PackedFile =
  | { readonly kind: "file"; readonly content: string | Uint8Array; readonly mode: number }
  /** A symbolic link. */
  | { readonly kind: "link"; readonly target: string };

/** What goes into a deb. */
export interface DebContent {
  /** By the path that they have on the system. */
  readonly files: ReadonlyMap<string, PackedFile>;
  /** Control files by name; those that begin with `#!` are scripts. The digests come by themselves. */
  readonly control: ReadonlyMap<string, string>;
  /** Time of everything in it, in seconds since 1970. */
  readonly epoch: number;
  /** Its own name. */
  readonly file: string;
  /** How dpkg-deb compresses: xz at its usual level unless told. */
  readonly compression?: readonly string[];
}

/**
 * Makes a deb with dpkg-deb, which keeps every byte of the files. Times are those that are given and owners are root, so that the same content gives the same
 * bytes.
 * @param folder an empty folder to work in.
 * @returns path of the package inside the folder.
 * @throws KmendError `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function packDeb(content: DebContent, folder: string, signal?: AbortSignal): Promise<string> {
  const { files, epoch } = content;
  const root = join(folder, "root");
  const control = new Map([...content.control, ["md5sums", md5sums(files)]]);
  try {
    for (const [path, file] of files) await put(join(root, path), file);
    for (const [name, text] of control) {
      const mode = text.startsWith("#!") ? 0o755 : 0o644;
      await put(join(root, "DEBIAN", name), { kind: "file", content: text, mode });
    }
    await settle(root, [...files.keys(), ...[...control.keys()].map((name) => `/DEBIAN/${name}`)], epoch);
    const path = join(folder, content.file);
    await run("dpkg-deb", ["--root-owner-group", ...(content.compression ?? ["-Zxz"]), "--build", root, path], {
      env: { SOURCE_DATE_EPOCH: String(epoch) },
      signal,
      timeout: 600_000,
    });
    return path;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function put(path: string, file: PackedFile): Promise<void> {
  await makeFolder(dirname(path), 0o755).catch(rethrowDiskErrors);
  if (file.kind === "link") {
    await symlink(file.target, path);
    return;
  }
  await writeFile(path, file.content).catch(rethrowDiskErrors);
  await chmod(path, file.mode);
}

/** Sets times and, whatever the umask was, modes of folders. */
async function settle(root: string, files: readonly string[], epoch: number): Promise<void> {
  const folders = new Set<string>(["/"]);
  for (const file of files) {
    await lutimes(join(root, file), epoch, epoch);
    for (let folder = dirname(file); folder !== "/"; folder = dirname(folder)) folders.add(folder);
  }
  for (const folder of [...folders].sort().reverse()) {
    await chmod(join(root, folder), 0o755);
    await lutimes(join(root, folder), epoch, epoch);
  }
}

function md5sums(files: ReadonlyMap<string, PackedFile>): string {
  const sums = [...files].flatMap(([path, file]) => {
    return file.kind === "file" ? [`${createHash("md5").update(file.content).digest("hex")}  ${path.slice(1)}`] : [];
  });
  return `${sums.sort().join("\n")}\n`;
}

/** Installed size that a deb's control file tells, in KiB. */
export function installedSize(files: Iterable<string | Uint8Array>): number {
  let kibibytes = 0;
  for (const content of files) kibibytes += Math.ceil(Buffer.byteLength(content) / 1024);
  return kibibytes;
}
