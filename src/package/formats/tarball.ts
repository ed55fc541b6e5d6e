import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { rethrowDiskErrors, sha256, writeFileAtomically } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import { metadataText } from "../metadata.ts";
import type { PackagePlan } from "../package-plan.ts";

/** File name of the archive. */
function tarballFileName(plan: PackagePlan): string {
  return `${plan.name}-${plan.version}-${plan.release}.${plan.architecture.rpm}.tar.gz`;
}

/**
 * Makes an archive of one folder with metadata.json, the modules by kernel, the patches, and SHA256SUMS of them all; ustar, sorted, root's, of one time.
 * @returns its path inside the folder.
 * @throws KmendError `PROGRAM_FAILED`
 */
export async function buildTarball(plan: PackagePlan, folder: string, signal?: AbortSignal): Promise<string> {
  const base = `${plan.name}-${plan.version}-${plan.release}`;
  const files = new Map<string, string | Uint8Array>([["metadata.json", metadataText(plan)]]);
  for (const { release, file, finished } of plan.modules) {
    if (finished !== undefined) files.set(`${release}/${file}`, finished.content);
  }
  for (const { file, content } of plan.patches) files.set(`patches/${file}`, content);
  const sums = [...files].map(([name, content]) => `${sha256(content)}  ${name}\n`).sort();
  files.set("SHA256SUMS", sums.join(""));
  for (const [name, content] of files) {
    const path = join(folder, base, name);
    await makeFolder(dirname(path)).catch(rethrowDiskErrors);
    await writeFile(path, content).catch(rethrowDiskErrors);
  }
  const path = join(folder, tarballFileName(plan));
  await packFolder(folder, base, plan.epoch, path, signal);
  await rm(join(folder, base), { recursive: true });
  return path;
}

/**
 * Packs the folder `base` of `folder`: ustar, sorted, root's, everything of one time.
 * @param epoch seconds since 1970.
 * @param path of the archive, which is there whole or not at all.
 * @throws KmendError `PROGRAM_FAILED`
 */
export async function packFolder(
  folder: string,
  base: string,
  epoch: number,
  path: string,
  signal?: AbortSignal,
): Promise<void> {
  const plain = join(folder, `${base}.tar`);
  const fixed = ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", `--mtime=@${epoch}`];
  await run("tar", ["--format=ustar", "--sort=name", ...fixed, "-cf", plain, "-C", folder, base], { signal });
  await run("gzip", ["-9", "-n", plain], { signal });
  if (dirname(path) === folder) await rename(`${plain}.gz`, path);
  else await writeFileAtomically(path, await readFile(`${plain}.gz`));
}

/** Most bytes that an archive may unpack to. */
const sizeLimit = 256 * 1024 * 1024;

/**
 * Unpacks the modules of such an archive. Nothing is written before every name in it was looked at: it may hold plain files and folders only, none
 * outside of its own folder; then every file has to have its digest.
 * @returns paths of the modules below `folder`, sorted.
 * @throws KmendError `BAD_ARCHIVE`
 */
export async function unpackTarball(path: string, folder: string, signal?: AbortSignal): Promise<readonly string[]> {
  const listed = await run("tar", ["-tvzf", path, "--numeric-owner", "--quoting-style=escape"], {
    allowFailure: true,
    signal,
    timeout: 60_000,
  });
  if (listed.exitCode !== 0) throw badArchive(path, "tar cannot read it");
  let bytes = 0;
  for (const line of listed.stdout.split("\n").filter(Boolean)) {
    const match = /^([-d])\S+ +\S+ +(\d+) +\S+ +\S+ (.+)$/.exec(line);
    const name = match?.[3] ?? "";
    bytes += Number(match?.[2] ?? 0);
    if (match === null || !/^[A-Za-z0-9][A-Za-z0-9._+~/-]*$/.test(name) || name.split("/").includes("..")) {
      throw badArchive(path, `it holds something else than plain files in one folder: ${line.slice(0, 120)}`);
    }
  }
  if (bytes > sizeLimit) throw badArchive(path, `it unpacks to ${bytes} bytes`);
  await run("tar", ["-xzf", path, "-C", folder, "--no-same-owner", "--no-same-permissions"], { signal });
  const [base, ...more] = await readdir(folder);
  if (base === undefined || more.length > 0) throw badArchive(path, "it does not hold one folder");
  const at = join(folder, base);
  const names = (await readdir(at, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => relative(at, join(entry.parentPath, entry.name)))
    .filter((name) => name !== "SHA256SUMS");
  const sums = new Map(
    (await readFile(join(at, "SHA256SUMS"), "utf8").catch(() => ""))
      .split("\n")
      .map((line) => [line.slice(66), line.slice(0, 64)] as const),
  );
  for (const name of names) {
    if (sums.get(name) === sha256(await readFile(join(at, name)))) continue;
    throw badArchive(path, `${name} does not have the digest that SHA256SUMS gives it`);
  }
  return names
    .filter((name) => name.endsWith(".ko"))
    .sort()
    .map((name) => join(at, name));
}

function badArchive(path: string, why: string): KmendError {
  return new KmendError({
    code: "BAD_ARCHIVE",
    message: `${path} is not an update that kmend package wrote`,
    why,
    hint: "get it again from where it comes from",
    exitCode: ExitCode.refused,
  });
}
