import { createHash } from "node:crypto";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { compareDebianVersions } from "../../kernel/sources/distribution/debian-version.ts";
import { rethrowDiskErrors, sha256, writeFileAtomically } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import { checked } from "../package-name.ts";
import { sourceDateEpoch } from "../source-date.ts";
import type { RepositoryFormat, RepositoryPackage, RepositoryRequest } from "./repository-format.ts";

/** A repository of debs: `deb [signed-by=…] URL SUITE main`. */
export const apt: RepositoryFormat = {
  pool: "pool/main",
  ending: ".deb",
  describe: describeDeb,
  compareVersions: compareDebianVersions,
  publish,
};

async function describeDeb(path: string, file: string): Promise<RepositoryPackage> {
  const { exitCode, stdout, all } = await run("dpkg-deb", ["-f", path, "Package", "Architecture", "Version"], {
    allowFailure: true,
  });
  const field = (name: string): string => new RegExp(`^${name}: (.+)$`, "m").exec(stdout)?.[1] ?? "";
  const [name, architecture, version] = ["Package", "Architecture", "Version"].map(field);
  if (exitCode === 0 && name && architecture && version) return { file, name, architecture, version };
  throw new KmendError({
    code: "NOT_A_PACKAGE",
    message: `${path} is not a deb`,
    why: all.trim(),
    hint: "kmend package --format deb makes one",
    exitCode: ExitCode.usage,
  });
}

/**
 * Writes Packages by digest, then Packages, Release and InRelease. apt asks for the files that InRelease names by their digests (Acquire-By-Hash,
 * https://wiki.debian.org/DebianRepository/Format), so the rename of InRelease changes from one whole index to the next; the last one stays fetchable.
 */
async function publish(packages: readonly RepositoryPackage[], request: RepositoryRequest): Promise<void> {
  const suite = checked("name", request.suite ?? "stable");
  const root = join(request.folder, "dists", suite);
  const architectures = [...new Set(packages.map(({ architecture }) => architecture).filter((name) => name !== "all"))];
  if (architectures.length === 0) architectures.push("amd64");
  const index = new Map<string, Uint8Array>();
  for (const architecture of architectures.sort()) {
    const own = packages.filter((entry) => entry.architecture === architecture || entry.architecture === "all");
    const stanzas = await Promise.all(own.map((entry) => stanza(request.folder, entry)));
    const text = Buffer.from(stanzas.join("\n"));
    index.set(`main/binary-${architecture}/Packages`, text);
    index.set(`main/binary-${architecture}/Packages.gz`, gzipSync(text, { level: 9 }));
  }
  const previous = await readFile(join(root, "Release"), "utf8").catch(() => "");
  for (const [name, content] of index) {
    const folder = join(root, name, "..");
    await makeFolder(join(folder, "by-hash", "SHA256")).catch(rethrowDiskErrors);
    await writeFileAtomically(join(folder, "by-hash", "SHA256", sha256(content)), content);
  }
  const release = releaseFile(suite, architectures, index);
  const signed = request.gpgKey === undefined ? undefined : await clearSigned(release, request.gpgKey, request.signal);
  for (const [name, content] of index) await writeFileAtomically(join(root, name), content);
  if (signed === undefined) await rm(join(root, "InRelease"), { force: true });
  await writeFileAtomically(join(root, "Release"), release);
  if (signed !== undefined) await writeFileAtomically(join(root, "InRelease"), signed);
  await sweep(root, index, previous);
}

/** A package's control fields, and where and what its file is. */
async function stanza(folder: string, { file }: RepositoryPackage): Promise<string> {
  const path = join(folder, file);
  const { stdout } = await run("dpkg-deb", ["-f", path]);
  const content = await readFile(path);
  const { size } = await stat(path);
  return `${stdout.trimEnd()}\nFilename: ${file}\nSize: ${size}\nSHA256: ${sha256(content)}\nMD5sum: ${createHash("md5").update(content).digest("hex")}\n`;
}

function releaseFile(suite: string, architectures: readonly string[], index: ReadonlyMap<string, Uint8Array>): string {
  const given = sourceDateEpoch();
  const date = given === undefined ? new Date() : new Date(given * 1000);
  const files = [...index].map(([name, content]) => ` ${sha256(content)} ${content.length} ${name}`);
  return [
    "Origin: kmend",
    "Label: kmend live patches",
    `Suite: ${suite}`,
    `Codename: ${suite}`,
    `Date: ${date.toUTCString().replace("GMT", "+0000")}`,
    `Architectures: ${architectures.join(" ")}`,
    "Components: main",
    "Acquire-By-Hash: yes",
    "Description: kernel live patches",
    "SHA256:",
    ...files,
    "",
  ].join("\n");
}

async function clearSigned(text: string, key: string, signal: AbortSignal | undefined): Promise<string> {
  const words = ["--batch", "--yes", "--local-user", key, "--digest-algo", "SHA256", "--clearsign"];
  const { stdout } = await run("gpg", words, { input: text, signal, timeout: 60_000 });
  return stdout;
}

/** Removes files by digest that neither this index nor the one before names. */
async function sweep(root: string, index: ReadonlyMap<string, Uint8Array>, previous: string): Promise<void> {
  const needed = new Set([...index.values()].map((content) => sha256(content)));
  for (const match of previous.matchAll(/^ ([0-9a-f]{64}) /gm)) needed.add(match[1] as string);
  for (const name of index.keys()) {
    const folder = join(root, name, "..", "by-hash", "SHA256");
    for (const digest of await readdir(folder))
      if (!needed.has(digest)) await rm(join(folder, digest), { force: true });
  }
}
