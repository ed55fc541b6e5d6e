import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ExitCode, KmendError, messageOf } from "../../../support/errors.ts";
import { run } from "../../../support/run.ts";

/** What a repository of dnf says about signatures (dnf.conf(5): gpgcheck, gpgkey). */
export interface SignaturePolicy {
  /** Whether its packages have to be signed. */
  readonly isAsked: boolean;
  /** Where its public keys are, as file names or URLs; without any, those that rpm knows on this machine count. */
  readonly keys: readonly string[];
}

/**
 * Reads the policy from what dnf prints of a repository's configuration; dnf 5 prints the first setting as pkg_gpgcheck too. Only a plain no means that
 * signatures are not asked for.
 * @returns undefined when it says nothing about them: dnf 5 prints nothing, without an error, for a repository that it does not know, and dnf 4 its help for
 * an option of dnf 5.
 */
export function signaturePolicy(configuration: string): SignaturePolicy | undefined {
  const values = (name: string): string[] =>
    [...configuration.matchAll(new RegExp(`^${name}[ \\t]*=[ \\t]*(.*(?:\\n[ \\t]+\\S.*)*)`, "gm"))].map(
      (match) => match[1] as string,
    );
  const checks = values("(?:pkg_)?gpgcheck");
  if (checks.length === 0) return undefined;
  return {
    isAsked: !checks.every((value) => /^(0|false|no|off)$/i.test(value.trim())),
    keys: values("gpgkey").flatMap((value) => value.split(/[\s,]+/).filter(Boolean)),
  };
}

/**
 * Checks that RPMs are signed with a key of their repository. dnf itself only does this when it installs packages, not when it downloads them.
 * @throws KmendError `RPM_SIGNATURE` with the first package that is not, `RPM_KEY` when a key cannot be had (both exit 5)
 */
export async function requireSignatures(
  paths: readonly string[],
  { keys }: SignaturePolicy,
  signal?: AbortSignal,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-keys-"));
  try {
    // A database of its own: keys of other repositories count for nothing here, and nothing of the system is changed.
    const database = keys.length === 0 ? [] : ["--dbpath", join(folder, "rpmdb")];
    for (const [index, key] of keys.entries()) {
      const file = join(folder, `key-${index}`);
      await writeFile(file, await readKey(key, signal));
      const { exitCode, all } = await run("rpmkeys", [...database, "--import", file], { allowFailure: true, signal });
      if (exitCode !== 0) throw keyError(key, all.trim());
    }
    for (const path of paths) {
      const words = [...database, "--define", "_pkgverify_level all", "--checksig", path];
      const { exitCode, all } = await run("rpmkeys", words, { allowFailure: true, signal });
      if (exitCode === 0 && /signatures OK\s*$/.test(all)) continue;
      throw new KmendError({
        code: "RPM_SIGNATURE",
        message: `${basename(path)} is not signed with a key of its repository`,
        where: path,
        why: `${all.trim()}; the repository asks for signatures (gpgcheck=1), keys: ${keys.join(", ") || "those of rpm"}`,
        hint: "ask who runs the repository; packages that you trust can be given with --kernel-rpm FILE",
        exitCode: ExitCode.environment,
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readKey(key: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    if (!/^(https?|ftp):/.test(key)) return await readFile(key.startsWith("file:") ? fileURLToPath(key) : key);
    const answer = await fetch(key, signal === undefined ? {} : { signal });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    throw keyError(key, messageOf(error));
  }
}

function keyError(key: string, why: string): KmendError {
  return new KmendError({
    code: "RPM_KEY",
    message: "the key of a repository cannot be used",
    where: key,
    why,
    hint: "correct gpgkey in the repository's configuration, or give the packages with --kernel-rpm FILE",
    exitCode: ExitCode.environment,
  });
}
