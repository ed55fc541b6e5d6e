import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { rethrowDiskErrors, temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";
import type { RepositoryFormat, RepositoryPackage, RepositoryRequest } from "./repository.ts";
import { compareRpmVersions } from "./rpm-version.ts";
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
 * createrepo_c indexes a shadow of the repository that holds links to the wanted packages only. Its files have their digests in their names, so they are put
 * beside the old ones; the rename of repomd.xml then makes them the index, and the files of the index before last are removed.
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
    await replaceIndex(join(shadow, "repodata"), join(folder, "repodata"));
  } finally {
    await rm(shadow, { recursive: true, force: true });
  }
}

async function replaceIndex(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true }).catch(rethrowDiskErrors);
  const before = await namedBy(join(to, "repomd.xml"));
  const fresh = (await readdir(from)).filter((name) => !name.startsWith("repomd.xml"));
  const move = async (name: string): Promise<void> => {
    const target = join(to, name);
    const temporary = temporaryBeside(target);
    await writeFile(temporary, await readFile(join(from, name))).catch(rethrowDiskErrors);
    await rename(temporary, target);
  };
  for (const name of fresh) await move(name);
  const entries = (await readdir(from)).filter((name) => name.startsWith("repomd.xml"));
  // The signature first: dnf fetches repomd.xml before it.
  for (const name of entries.sort().reverse()) await move(name);
  if (!entries.includes("repomd.xml.asc")) await rm(join(to, "repomd.xml.asc"), { force: true });
  const needed = new Set([...fresh, ...before, ...entries]);
  for (const name of await readdir(to)) if (!needed.has(name)) await rm(join(to, name), { force: true });
}

/** Files that an index names; a reader that has fetched it may still ask for them. */
async function namedBy(repomd: string): Promise<readonly string[]> {
  const text = await readFile(repomd, "utf8").catch(() => "");
  return [...text.matchAll(/<location href="repodata\/([^"/]+)"/g)].map((match) => match[1] as string);
}
