import { chmod, mkdir, readdir, readFile, rm, statfs, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, rethrowDiskErrors, sha256, sweepTemporaries, withLock } from "../../support/cache.ts";
import { requireTrustedFolder } from "../../support/cache-trust.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { requireProgram } from "../../support/find-program.ts";
import { makeFolder } from "../../support/make-folder.ts";
import type { Progress } from "../../support/progress.ts";
import { run } from "../../support/run.ts";
import type { CompilerArchive } from "../sources/distribution/compiler-archive.ts";
import type { RootPlan, WantedCompiler } from "./wanted-compiler.ts";

/** What the functions here need of their caller. */
export interface RootContext {
  /** The kmend cache folder. */
  readonly cache: string;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes that a root takes while it is made: the unpacked packages and the archive that they come from. */
const spaceNeeded = 700 * 2 ** 20;

/** Folder of the cache with all roots. */
export function rootsFolder(cache: string): string {
  return join(cache, "roots");
}

/**
 * Runs a compiler of the root: its /usr takes the place of this machine's, for this program alone, in a mount namespace of its own. All other paths are what they are
 * outside. Without root, the namespace belongs to a user namespace (user_namespaces(7)). /lib, /lib64 and /bin lead into /usr on both sides. What an
 * administrator keeps in /usr/src and /usr/local stays.
 */
function launcher(program: string): string {
  return `#!/bin/sh
root=\${0%/*}/../root
user=
[ "$(id -u)" = 0 ] || user='--user --map-root-user'
exec unshare $user --mount sh -c '
  for kept in src local; do
    [ ! -d "/usr/$kept" ] || mount --rbind "/usr/$kept" "$0/usr/$kept" || exit 126
  done
  mount --rbind "$0/usr" /usr && cd "$1" && shift && exec "$@"
' "$root" "$PWD" /usr/bin/${program} "$@"
`;
}

/**
 * Finds a root with this compiler in the cache.
 * @returns the program to compile with.
 */
export async function cachedRoot(compiler: WantedCompiler, cache: string): Promise<string | undefined> {
  const folder = rootsFolder(cache);
  const names = await readdir(folder).catch(() => [] as string[]);
  const own = names.filter((name) => name.startsWith(`${compiler.name}_${compiler.version}-`)).sort();
  for (const name of own.filter((other) => /-[0-9a-f]{12}$/.test(other))) {
    const program = join(folder, name, "bin", compiler.program);
    if (!(await exists(program))) continue;
    await requireTrustedFolder(join(folder, name), programDepth);
    await utimes(join(folder, name), new Date(), new Date()).catch(() => {});
    return program;
  }
  return undefined;
}

/** Of `root/usr/bin/gcc-14`, below the folder of a root. */
const programDepth = 4;

/**
 * Makes a root with mmdebstrap(1), from packages that are only unpacked: no script of a package runs. It appears in the cache when it is whole; what an
 * interrupted run leaves is removed by the next.
 * @returns the program to compile with.
 * @throws KmendError `NAMESPACES_FORBIDDEN`, `NO_SPACE`, `BUILD_ROOT_FAILED` (all exit 5).
 */
export async function makeRoot(plan: RootPlan, archive: CompilerArchive, context: RootContext): Promise<string> {
  const { compiler, packages } = plan;
  const { cache, progress, signal } = context;
  await requireNamespaces(signal);
  await requireProgram("mmdebstrap", "it makes a root with the kernel's compiler", "mmdebstrap");
  const folder = rootsFolder(cache);
  await makeFolder(folder).catch(rethrowDiskErrors);
  const specs = packages.map(({ name, version }) => `${name}=${version}`);
  const digest = sha256([...specs].sort().join("\n"), launcher(compiler.program)).slice(0, 12);
  const path = join(folder, `${compiler.name}_${compiler.version}-${digest}`);
  await withLock(
    join(folder, `${compiler.name}_${compiler.version}.lock`),
    async () => {
      await sweepTemporaries(folder);
      if (await exists(path)) return;
      await requireSpace(folder);
      await progress.phase("root", `Make a build root with ${compiler.name} ${compiler.version}`, () =>
        makeOnce(path, (temporary) => fill(temporary, plan, specs, archive, signal)),
      );
    },
    { onWait: (pid) => progress.note(`process ${pid} is making the same build root; waiting for it`), signal },
  );
  return join(path, "bin", compiler.program);
}

async function fill(
  folder: string,
  { compiler, packages }: RootPlan,
  specs: readonly string[],
  archive: CompilerArchive,
  signal: AbortSignal | undefined,
): Promise<void> {
  const [root, programs, tar] = [join(folder, "root"), join(folder, "bin"), join(folder, "root.tar")];
  await makeFolder(programs).catch(rethrowDiskErrors);
  await mkdir(root).catch(rethrowDiskErrors);
  const words = [
    ...["--quiet", "--variant=extract", "--format=tar", `--include=${specs.join(",")}`],
    ...["--setup-hook", mergedUsr, "", tar, ...(await archive.sources())],
  ];
  const made = await run("mmdebstrap", words, { signal, allowFailure: true });
  signal?.throwIfAborted();
  if (made.exitCode !== 0) throw rootFailed(compiler, archive, made.all);
  const unpacked = await run(
    "sh",
    ["-c", 'umask 022; exec tar "$@"', "tar", ...unpacking, "-f", tar, "-C", root, "./usr"],
    {
      signal,
      allowFailure: true,
    },
  );
  signal?.throwIfAborted();
  if (unpacked.exitCode !== 0) throw rootFailed(compiler, archive, unpacked.all);
  for (const path of [tar, ...unused.map((name) => join(root, name))]) await rm(path, { recursive: true, force: true });
  // Places for what the launcher keeps of this machine.
  for (const kept of ["src", "local"]) await makeFolder(join(root, "usr", kept));
  const program = join(programs, compiler.program);
  await writeFile(program, launcher(compiler.program)).catch(rethrowDiskErrors);
  await chmod(program, 0o755);
  await writeFile(join(folder, "root.json"), JSON.stringify({ schema: 1, compiler, packages, archive: archive.name }));
}

/** Packages of releases before the merge of /usr have files in /lib: they go to where the links lead. */
const mergedUsr =
  'for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; [ -e "$1/$name" ] || ln -s "usr/$name" "$1/$name"; done';

/** Only whose cache it is may write there. */
const unpacking = ["-x", "--no-same-owner", "--no-same-permissions"];

/** No compiler reads these. */
const unused = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];

function rootFailed(compiler: WantedCompiler, archive: CompilerArchive, output: string): KmendError {
  const lines = output.trimEnd().split("\n");
  if (/No space left on device|enough free space/.test(output)) rethrowDiskErrors(new Error("No space left on device"));
  return new KmendError({
    code: "BUILD_ROOT_FAILED",
    message: `no build root with ${compiler.name} ${compiler.version} can be made`,
    where: archive.name,
    why: lines.slice(-20).join("\n"),
    hint: "see to what mmdebstrap reports; --skip-gcc-check builds with the compiler here, and the proof decides",
    exitCode: ExitCode.environment,
  });
}

/** @throws KmendError `NO_SPACE` before anything is downloaded. */
async function requireSpace(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= spaceNeeded) return;
  throw new KmendError({
    code: "NO_SPACE",
    message: "no space left on the disk for a build root",
    where: folder,
    why: `it needs ${Math.round(spaceNeeded / 2 ** 20)} MiB while it is made, and ${Math.round((bavail * bsize) / 2 ** 20)} MiB are free`,
    hint: "free some space, remove roots that are not needed (kmend cache --prune 0), or choose another cache folder with KMEND_CACHE=DIR",
    exitCode: ExitCode.environment,
  });
}

/** @throws KmendError `NAMESPACES_FORBIDDEN` where this process may not have mounts of its own. */
async function requireNamespaces(signal: AbortSignal | undefined): Promise<void> {
  const user = process.geteuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const words = [...user, "--mount", "mount", "--rbind", "/usr", "/usr"];
  const { exitCode, all } = await run("unshare", words, { signal, allowFailure: true });
  signal?.throwIfAborted();
  if (exitCode === 0) return;
  throw new KmendError({
    code: "NAMESPACES_FORBIDDEN",
    message: "a compiler of a build root cannot be run here: this process may not mount anything",
    why: all.trim(),
    hint:
      user.length > 0
        ? "run kmend as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        : "run kmend outside of this container, or give the container CAP_SYS_ADMIN",
    exitCode: ExitCode.environment,
  });
}

/** What a root says about itself. */
export interface RootRecord {
  readonly compiler: Pick<WantedCompiler, "name" | "version">;
}

/** Reads what a root in the cache is; undefined for a folder that is none. */
export async function readRoot(folder: string): Promise<RootRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, "root.json"), "utf8")) as RootRecord;
  } catch {
    return undefined;
  }
}
