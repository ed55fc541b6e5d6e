import {
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { rethrowDiskErrors, temporaryBeside } from "../../support/cache.ts";
import { ExitCode, KmendError, systemErrorCode } from "../../support/errors.ts";
import { run } from "../../support/run.ts";
import { compareRpmVersions } from "../formats/rpm-version.ts";
import type { RepositoryFormat, RepositoryPackage, RepositoryRequest } from "./repository-format.ts";
import { readUpdate, updateInfo } from "./update-info.ts";

/** A repository of RPMs, as createrepo_c(8) makes it. */
export const dnf: RepositoryFormat = {
  pool: "Packages",
  ending: ".rpm",
  describe: describeRpm,
  compareVersions: compareEvr,
  publish,
};

/** `VERSION-RELEASE`, with `EPOCH:` before it when it is not 0. */
function compareEvr(a: string, b: string): number {
  const [one, other] = [a, b].map((text) => /^(?:(\d+):)?(.*)-([^-]*)$/.exec(text) ?? ["", "", text, ""]);
  for (const part of [1, 2, 3]) {
    const order = compareRpmVersions(one?.[part] ?? "0", other?.[part] ?? "0");
    if (order !== 0) return order;
  }
  return 0;
}

async function describeRpm(path: string, file: string): Promise<RepositoryPackage> {
  const format = "%{NAME}\\n%{ARCH}\\n%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n";
  const { exitCode, stdout, all } = await run("rpm", ["-qp", "--nosignature", "--qf", format, path], {
    allowFailure: true,
  });
  const [name, architecture, version] = stdout.split("\n");
  if (exitCode === 0 && name && architecture && version) return { file, name, architecture, version };
  throw new KmendError({
    code: "NOT_A_PACKAGE",
    message: `${path} is not an RPM`,
    why: all.trim(),
    hint: "kmend package --format rpm makes one",
    exitCode: ExitCode.usage,
  });
}

/**
 * createrepo_c indexes a shadow of the repository that holds links to the wanted packages only. The files of the
 * result have their digests in their names.
 */
async function publish(packages: readonly RepositoryPackage[], request: RepositoryRequest): Promise<void> {
  const { folder, gpgKey, signal } = request;
  const shadow = await mkdtemp(join(tmpdir(), "kmend-repository-"));
  try {
    await mkdir(join(shadow, "Packages"));
    for (const { file } of packages) await symlink(resolve(folder, file), join(shadow, file));
    const options = ["--quiet", "--unique-md-filenames", "--checksum=sha256", "--general-compress-type=gz"];
    await run("createrepo_c", [...options, shadow], { signal, timeout: 600_000 });
    const updates = await Promise.all(packages.map(({ file }) => readUpdate(join(folder, file), file)));
    const xml = join(shadow, "updateinfo.xml");
    await writeFile(xml, updateInfo(updates));
    await run("modifyrepo_c", ["--unique-md-filenames", "--compress-type=gz", xml, join(shadow, "repodata")], {
      signal,
    });
    const entry = join(shadow, "repodata", "repomd.xml");
    if (gpgKey !== undefined) {
      const words = ["--batch", "--yes", "--local-user", gpgKey, "--digest-algo", "SHA256"];
      await run("gpg", [...words, "--armor", "--detach-sign", entry], { signal, timeout: 60_000 });
    }
    await replaceIndex(join(shadow, "repodata"), folder);
  } finally {
    await rm(shadow, { recursive: true, force: true });
  }
}

/**
 * Puts a new index into the place of the old one. repomd.xml and its signature have to change at the same moment, so `repodata` is a link to a folder with
 * one index, and the rename of a new link makes another folder the index. The files of the index before stay, for who has read its repomd.xml already.
 */
async function replaceIndex(from: string, repository: string): Promise<void> {
  const current = join(repository, "repodata");
  const before = await namedBy(join(current, "repomd.xml"));
  const next = await mkdtemp(join(repository, indexPrefix)).catch(rethrowDiskErrors);
  try {
    await chmod(next, 0o755);
    for (const name of await readdir(from)) await copyFile(join(from, name), join(next, name)).catch(rethrowDiskErrors);
    for (const name of before) await link(join(current, name), join(next, name)).catch(unlessThere);
    const fresh = temporaryBeside(current);
    await symlink(basename(next), fresh).catch(rethrowDiskErrors);
    // A folder, as createrepo_c makes it, cannot be replaced by a rename: once, there is a moment without an index.
    const old = await lstat(current).catch(() => undefined);
    if (old?.isDirectory() === true) await rename(current, `${next}-old`);
    await rename(fresh, current).catch(rethrowDiskErrors);
  } catch (error) {
    await rm(next, { recursive: true, force: true });
    throw error;
  }
  const left = (await readdir(repository)).filter((name) => name.startsWith(indexPrefix) && name !== basename(next));
  for (const name of left) await rm(join(repository, name), { recursive: true, force: true });
}

/** How the names of folders with an index begin. */
const indexPrefix = "repodata-";

/** Swallows that a file is there already, or gone. */
function unlessThere(error: unknown): void {
  if (!["EEXIST", "ENOENT"].includes(systemErrorCode(error) ?? "")) rethrowDiskErrors(error);
}

/** Files that an index names; a reader that has fetched it may still ask for them. */
async function namedBy(repomd: string): Promise<readonly string[]> {
  const text = await readFile(repomd, "utf8").catch(() => "");
  return [...text.matchAll(/<location href="repodata\/([^"/]+)"/g)].map((match) => match[1] as string);
}
