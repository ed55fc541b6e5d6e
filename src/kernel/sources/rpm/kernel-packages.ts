import { readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exists, makeOnce, rethrowDiskErrors, sha256, sweepTemporaries, withLock } from "../../../support/cache.ts";
import { compressionOf, decompress } from "../../../support/decompress.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import type { DistributionContext } from "../distribution/distribution.ts";
import { nameVersionRelease, type RpmFile, sourceRpmName, unpackRpm } from "./rpm-file.ts";

/** The files of a kernel that its binary packages hold. */
export interface PackagedKernel {
  readonly release: string;
  /** Version and release of the packages, for example `5.14.0-427.el9`. */
  readonly packageVersion: string;
  readonly imagePath: string;
  readonly configPath: string;
  readonly symversPath: string;
  readonly modulesDir: string | undefined;
}

type Part = "image" | "config" | "symvers";

/**
 * Where the packages of Fedora and its relatives have the parts of a kernel of release R, and those of RHEL 7 and Amazon Linux 2, which have them in /boot. The first
 * that is there counts.
 */
const places: Readonly<Record<Part, readonly ((release: string) => RegExp)[]>> = {
  image: [
    (release) => exactly(`/(?:usr/)?lib/modules/${release}/vmlinuz`),
    (release) => exactly(`/boot/vmlinuz-${release}`),
  ],
  config: [
    (release) => exactly(`/(?:usr/)?lib/modules/${release}/config`),
    (release) => exactly(`/boot/config-${release}`),
    (release) => exactly(`/usr/src/kernels/${release}/\\.config`),
  ],
  symvers: [
    (release) => exactly(`/usr/src/kernels/${release}/Module\\.symvers`),
    (release) => exactly(`/(?:usr/)?lib/modules/${release}/symvers(?:\\.gz|\\.xz|\\.zst)?`),
    (release) => exactly(`/boot/symvers-${release}(?:\\.gz|\\.xz|\\.zst)?`),
  ],
};

/** What to give when a part is missing. */
const holders: Readonly<Record<Part, { readonly what: string; readonly where: string }>> = {
  image: { what: "kernel image", where: "the core package (kernel-core, or kernel on older distributions)" },
  config: { what: "configuration", where: "the core package (kernel-core) or the devel package (kernel-devel)" },
  symvers: { what: "Module.symvers", where: "the devel package (kernel-devel)" },
};

function exactly(pattern: string): RegExp {
  return new RegExp(`^${pattern}$`);
}

function quoted(release: string): string {
  return release.replaceAll(/[.+*?()[\]{}|\\^$]/g, "\\$&");
}

/**
 * The release whose image the packages hold.
 * @param wanted the release when several are there.
 * @throws KmendError `KERNEL_RPM_MISSING`, `KERNEL_RPM_AMBIGUOUS`, `KERNEL_NOT_IN_RPMS` (exit 2)
 */
export function packagedRelease(packages: readonly RpmFile[], wanted?: string): string {
  const image = /^(?:\/usr)?\/lib\/modules\/([^/]+)\/vmlinuz$|^\/boot\/vmlinuz-([^/]+)$/;
  const releases = new Set(
    packages.flatMap(({ files }) =>
      files.flatMap((path) => {
        const found = image.exec(path);
        return found === null ? [] : [(found[1] ?? found[2]) as string];
      }),
    ),
  );
  if (releases.size === 0) throw missing("image", packages);
  if (wanted !== undefined && releases.has(wanted)) return wanted;
  const [release, ...more] = [...releases];
  if (wanted === undefined && release !== undefined && more.length === 0) return release;
  throw new KmendError({
    code: wanted === undefined ? "KERNEL_RPM_AMBIGUOUS" : "KERNEL_NOT_IN_RPMS",
    message:
      wanted === undefined
        ? "the RPMs hold more than one kernel"
        : `the RPMs do not hold the image of kernel ${wanted}`,
    where: packages.map(({ path }) => path).join(", "),
    why: `they hold ${[...releases].join(", ")}`,
    hint: "choose one of these with --kernel RELEASE, or give the packages of the kernel that you mean",
    exitCode: ExitCode.usage,
  });
}

/**
 * Refuses binary packages that were not built from one source RPM.
 * @throws KmendError `RPM_OF_OTHER_KERNEL`, `RPM_WRONG_KIND` (exit 2)
 */
export function requireOneBuild(packages: readonly RpmFile[], source: RpmFile | undefined): void {
  for (const { isSource, path } of packages) {
    if (isSource) throw wrongKind(`${basename(path)} is a source RPM`, path, "give source RPMs with --sourcerpm");
  }
  if (source?.isSource === false) {
    throw wrongKind(
      `${basename(source.path)} is no source RPM`,
      source.path,
      "give binary packages with --kernel-rpm, and the source RPM (….src.rpm) with --sourcerpm",
    );
  }
  const first = packages[0];
  const expected = source === undefined ? first?.sourceRpm : sourceRpmName(source);
  for (const rpm of packages) {
    // A source RPM without its sources is the same source, under another suffix.
    if (rpm.sourceRpm?.replace(/\.nosrc\.rpm$/, ".src.rpm") === expected?.replace(/\.nosrc\.rpm$/, ".src.rpm"))
      continue;
    throw new KmendError({
      code: "RPM_OF_OTHER_KERNEL",
      message: `${basename(rpm.path)} was not built from ${expected}`,
      where: rpm.path,
      why: `it was built from ${rpm.sourceRpm ?? "another source RPM"}; image, modules and source must belong to exactly one build`,
      hint: `give packages of one build: ${rpm.sourceRpm === undefined ? "with the same version and release" : `the source RPM ${rpm.sourceRpm}, or packages of ${expected}`}`,
      exitCode: ExitCode.usage,
    });
  }
}

function wrongKind(message: string, where: string, hint: string): KmendError {
  return new KmendError({ code: "RPM_WRONG_KIND", message, where, hint, exitCode: ExitCode.usage });
}

function missing(part: Part, packages: readonly RpmFile[]): KmendError {
  const { what, where } = holders[part];
  return new KmendError({
    code: "KERNEL_RPM_MISSING",
    message: `no ${what} is in the RPMs that were given`,
    where: packages.map(({ path }) => path).join(", "),
    why: `it is in ${where}`,
    hint: "give it as well with --kernel-rpm FILE, or leave --kernel-rpm out to take all of them from a dnf repository",
    exitCode: ExitCode.usage,
  });
}

/**
 * Unpacks what patch modules need of a kernel's packages into the cache, once for each set of packages.
 * @throws KmendError `KERNEL_RPM_MISSING`, and those of unpacking.
 */
export async function unpackKernel(
  packages: readonly RpmFile[],
  release: string,
  context: DistributionContext,
): Promise<PackagedKernel> {
  const sources = Object.fromEntries(
    (Object.keys(places) as Part[]).map((part) => [part, findPart(part, packages, release)]),
  ) as Record<Part, string>;
  const key = sha256(release, ...packages.map(({ digest }) => digest).sort()).slice(0, 16);
  const [first] = packages as readonly [RpmFile, ...RpmFile[]];
  const root = join(context.cache, "rpms");
  const folder = join(root, `${nameVersionRelease(first)}-${key}`);
  if (!(await exists(folder))) {
    await withLock(
      `${folder}.lock`,
      async () => {
        await sweepTemporaries(root);
        await context.progress.phase("unpack-rpm", "Unpack the kernel's RPMs", () =>
          makeOnce(folder, (temporary) => fill(temporary, packages, sources, release, context)),
        );
      },
      {
        onWait: (pid) => context.progress.note(`process ${pid} is unpacking the same packages; waiting for it`),
        signal: context.signal,
      },
    );
  }
  const modules = join(folder, "lib/modules", release);
  return {
    release,
    packageVersion: `${first.version}-${first.release}`,
    imagePath: join(folder, "vmlinuz"),
    configPath: join(folder, "config"),
    symversPath: join(folder, "Module.symvers"),
    modulesDir: (await exists(join(modules, "modules.order"))) ? modules : undefined,
  };
}

function findPart(part: Part, packages: readonly RpmFile[], release: string): string {
  const all = packages.flatMap(({ files }) => files);
  for (const place of places[part]) {
    const pattern = place(quoted(release));
    const found = all.find((path) => pattern.test(path));
    if (found !== undefined) return found;
  }
  throw missing(part, packages);
}

async function fill(
  folder: string,
  packages: readonly RpmFile[],
  sources: Readonly<Record<Part, string>>,
  release: string,
  context: DistributionContext,
): Promise<void> {
  const { signal } = context;
  // The headers of a devel package are as many files as all modules, and only one of them is wanted.
  const modules = [`./lib/modules/${release}/*`, `./usr/lib/modules/${release}/*`];
  const patterns = [...Object.values(sources).map((path) => `.${path}`), ...modules];
  const content = join(folder, "content");
  for (const rpm of packages) await unpackRpm(rpm, content, patterns, context);
  const merged = join(content, "usr/lib/modules", release);
  const link = join(folder, "lib/modules", release);
  await makeFolder(dirname(link)).catch(rethrowDiskErrors);
  const unpacked = (await exists(merged)) ? merged : join(content, "lib/modules", release);
  if (await exists(unpacked)) await rename(unpacked, link);
  const at = (path: string): string =>
    path.replace(/^(?:\/usr)?\/lib\/modules\/[^/]+\//, "") === path ? join(content, path) : join(link, basename(path));
  await rename(at(sources.image), join(folder, "vmlinuz"));
  await rename(at(sources.config), join(folder, "config"));
  const symvers = await readFile(at(sources.symvers));
  const plain =
    compressionOf(symvers) === undefined ? symvers : await decompress(symvers, basename(sources.symvers), { signal });
  await writeFile(join(folder, "Module.symvers"), plain).catch(rethrowDiskErrors);
}
