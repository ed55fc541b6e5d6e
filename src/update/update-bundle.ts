import { lstat, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { packFolder } from "../package/formats/tarball.ts";
import { exists, rethrowDiskErrors, sha256 } from "../support/cache.ts";
import { KmendError, messageOf, systemErrorCode } from "../support/errors.ts";
import { entriesBelow } from "../support/find-files.ts";
import { makeFolder } from "../support/make-folder.ts";
import { badUpdate, fileLimit, isHarmless, readTarball, updateSizeLimit } from "./tar-reader.ts";
import { manifestSizeLimit, parseUpdateManifest, sealManifest, type UpdateManifest } from "./update-manifest.ts";
import { problemWithModule } from "./update-module.ts";

/** Names of the files that every update has, and of the one that some have. */
const manifestFile = "manifest.json";
export const patchFileName = "patch";
export const descriptionFileName = "description";

/** A bundle with one patch module, its patch and its manifest: read, and every digest checked. */
export interface UpdateBundle {
  /** The archive, or the folder. */
  readonly path: string;
  readonly manifest: UpdateManifest;
  /** The source patch. */
  readonly patch: Buffer;
  readonly description: string;
  /** The patch module. */
  readonly module: Buffer;
  /** Everything in it but the manifest. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/** File name of an update's archive. */
function updateFileName(id: string): string {
  return `ksplice-${id}.tar.gz`;
}

/**
 * Writes an update: the same files, manifest and time give the same bytes.
 * @param epoch time of all files in it, in seconds since 1970.
 * @returns path of the archive.
 */
export async function writeUpdate(
  manifest: Omit<UpdateManifest, "files" | "digest">,
  files: ReadonlyMap<string, Uint8Array>,
  epoch: number,
  output: string,
  signal?: AbortSignal,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-update-")).catch(rethrowDiskErrors);
  try {
    const sorted = [...files].sort(([one], [other]) => (one < other ? -1 : 1));
    const digests = Object.fromEntries(sorted.map(([name, content]) => [name, sha256(content)]));
    const whole = sealManifest({ ...manifest, files: digests });
    const base = `ksplice-${manifest.id}`;
    const text = `${JSON.stringify(whole, null, 2)}\n`;
    parseUpdateManifest(text);
    for (const [name, content] of [...sorted, [manifestFile, Buffer.from(text)] as const]) {
      const path = join(folder, base, name);
      await makeFolder(dirname(path)).catch(rethrowDiskErrors);
      await writeFile(path, content).catch(rethrowDiskErrors);
    }
    const path = join(output, updateFileName(manifest.id));
    await packFolder(folder, base, epoch, path, signal);
    return path;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Reads an update from its archive or from the folder that it was unpacked to. Nothing is written.
 * @throws KmendError `BAD_UPDATE` unless manifest and files fit each other exactly.
 */
export async function readUpdate(path: string): Promise<UpdateBundle> {
  const info = await stat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") throw noUpdate(path);
    throw badUpdate(path, messageOf(error), error);
  });
  const files = info.isDirectory() ? await readFolder(path) : await readTarball(path);
  const text = files.get(manifestFile);
  if (text === undefined) throw badUpdate(path, `it has no ${manifestFile}`);
  files.delete(manifestFile);
  if (text.length > manifestSizeLimit) throw badUpdate(path, `its ${manifestFile} has ${text.length} bytes`);
  let manifest: UpdateManifest;
  try {
    manifest = parseUpdateManifest(text.toString("utf8"));
  } catch (error) {
    throw badUpdate(path, `its ${manifestFile} is not what it has to be: ${messageOf(error)}`, error);
  }
  for (const [name, content] of files) {
    const wanted = Object.hasOwn(manifest.files, name) ? manifest.files[name] : undefined;
    if (wanted === undefined) throw badUpdate(path, `its manifest does not know ${name}`);
    if (wanted !== sha256(content))
      throw badUpdate(path, `${name} does not have the digest that the manifest gives it`);
  }
  for (const name of [...Object.keys(manifest.files), patchFileName, ...manifest.modules.map(({ file }) => file)]) {
    if (!files.has(name)) throw badUpdate(path, `${name} is missing`);
  }
  const module = files.get(manifest.module.file);
  if (module === undefined || sha256(module) !== manifest.module.sha256) {
    throw badUpdate(path, "its patch module is not the one that the manifest names");
  }
  const problem = problemWithModule(manifest, module);
  if (problem !== undefined) throw badUpdate(path, problem);
  const description = (files.get(descriptionFileName) ?? Buffer.alloc(0)).toString("utf8");
  return { path, manifest, patch: files.get(patchFileName) as Buffer, description, module, files };
}

function noUpdate(path: string): KmendError {
  return new KmendError({
    code: "UPDATE_MISSING",
    message: `there is no file or folder ${path}`,
    hint: "give the path of an update, ksplice-ID.tar.gz, or of the folder that it was unpacked to",
  });
}

async function readFolder(path: string): Promise<Map<string, Buffer>> {
  // Any other folder may be large, and change while it is read.
  if (!(await exists(join(path, manifestFile)))) throw badUpdate(path, `it has no ${manifestFile}`);
  return filesIn(path).catch((error: unknown) => {
    throw error instanceof KmendError ? error : badUpdate(path, messageOf(error), error);
  });
}

async function filesIn(path: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  let bytes = 0;
  for (const entry of await entriesBelow(path)) {
    const at = join(entry.parentPath, entry.name);
    const name = relative(path, at);
    const info = await lstat(at);
    if (info.isDirectory()) continue;
    if (!info.isFile()) throw badUpdate(path, `${name} is neither a file nor a folder`);
    if (!name.split("/").every(isHarmless))
      throw badUpdate(path, `${JSON.stringify(name)} is no name of a file in an update`);
    bytes += info.size;
    if (bytes > updateSizeLimit) throw badUpdate(path, `it has more than ${updateSizeLimit} bytes`);
    if (files.size >= fileLimit) throw badUpdate(path, `it holds more than ${fileLimit} files`);
    files.set(name, await readFile(at));
  }
  return files;
}

/** Whether a path looks like an update rather than like a module: an archive, or a folder with a manifest. */
export async function isUpdatePath(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory() === true) return (await stat(join(path, manifestFile)).catch(() => undefined)) !== undefined;
  return info?.isFile() === true && /\.(tar\.gz|tgz)$/.test(path);
}

/** Whether an archive or folder is an update, and not what `kmend package` wrote: that has no manifest of this kind. */
export async function isUpdateArchive(path: string): Promise<boolean> {
  if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return true;
  const names = await readTarball(path).catch(() => new Map<string, Buffer>());
  return names.has(manifestFile);
}

/**
 * Writes the patch module of an update into a folder.
 * @returns its path, and what the update is for; undefined when it does not say.
 * @throws KmendError `BAD_UPDATE`
 */
export async function moduleInto(
  path: string,
  folder: string,
): Promise<{ readonly file: string; readonly description: string | undefined }> {
  const { manifest, module, description } = await readUpdate(path);
  const file = join(folder, basename(manifest.module.file));
  await writeFile(file, module, { mode: 0o600 }).catch(rethrowDiskErrors);
  return { file, description: description.trim() === "" ? undefined : description.trimEnd() };
}

/**
 * Gives `work` patch modules as files, where operands may be updates: the module of each is put into a private folder that is gone afterwards.
 * @param operands paths, or updates that were read already.
 * @throws KmendError of {@link readUpdate}
 */
export async function withModuleFiles<Result>(
  operands: readonly (string | UpdateBundle)[],
  work: (files: readonly string[]) => Promise<Result>,
): Promise<Result> {
  const bundles = await Promise.all(
    operands.map(async (one) => (typeof one === "string" && (await isUpdatePath(one)) ? readUpdate(one) : one)),
  );
  const plain = bundles.filter((bundle) => typeof bundle === "string");
  if (plain.length === bundles.length) return work(plain);
  const folder = await mkdtemp(join(tmpdir(), "kmend-opened-")).catch(rethrowDiskErrors);
  try {
    const files: string[] = [];
    for (const [index, bundle] of bundles.entries()) {
      if (typeof bundle === "string") {
        files.push(bundle);
        continue;
      }
      const path = join(folder, `${index}`, basename(bundle.manifest.module.file));
      await mkdir(dirname(path)).catch(rethrowDiskErrors);
      await writeFile(path, bundle.module, { mode: 0o600 }).catch(rethrowDiskErrors);
      files.push(path);
    }
    return await work(files);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
