/**
 * All environment variables that kmend reads, each with what it is for; no other file reads any, so that this list is whole. docs/debugging.md has the table.
 */
export const environmentVariables = {
  KMEND_CACHE: "the cache folder",
  XDG_CACHE_HOME: "folder of the cache when KMEND_CACHE is not set",
  PATH: "where programs are found",
  HOME: "given to make, compilers and git",
  TMPDIR: "folder of temporary files",
  CCACHE_DIR: "given to compilers that run through ccache",
  CCACHE_DISABLE: "set: compilers do not run through ccache",
  SOURCE_DATE_EPOCH: "the time that packages, updates and repositories carry",
  KBUILD_SIGN_PIN: "set: openssl reads the passphrase of a signing key there",
  KMEND_QUEUE_PASSWORD: "the password of the queue of kmend matrix and kmend worker",
  KBUILD_EXTRA_SYMBOLS: "more Module.symvers files for kpatch-build --oot-module",
  CONCURRENCY_LEVEL: "compilers at once, for ksplice-create",
  SUDO_USER: "who ran sudo: told with a stop that is loaded",
  APT_CONFIG: "another configuration of apt, from which its folders are read",
  NO_COLOR: "set: no colours",
  FORCE_COLOR: "set: colours everywhere; 0: nowhere",
  TERM: "dumb: a terminal without colours and moving lines",
} as const;

/** Name of a variable that kmend reads. */
export type EnvironmentVariable = keyof typeof environmentVariables;

/** A variable as it is set now; an empty one is set. */
export function environmentVariable(name: EnvironmentVariable): string | undefined {
  return process.env[name];
}

/** A variable with a secret, which no program that is started from here sees any more; undefined where it is not set, or empty. */
export function takeSecret(name: EnvironmentVariable): string | undefined {
  const value = process.env[name];
  delete process.env[name];
  return value === "" ? undefined : value;
}

/** Those of some variables that are set, as the environment of a program. */
export function environmentOf(names: readonly EnvironmentVariable[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = environmentVariable(name);
    if (value !== undefined) found[name] = value;
  }
  return found;
}
