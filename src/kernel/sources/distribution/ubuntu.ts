import { readdir, rm } from "node:fs/promises";
import { arch } from "node:os";
import { join } from "node:path";
import { exists, rethrowDiskErrors, temporaryBeside, withLock } from "../../../support/cache.ts";
import { requireProgram } from "../../../support/find-program.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { run } from "../../../support/run.ts";
import { packTree } from "../pack-tree.ts";
import { downloadSource, type PackageVersion } from "./apt.ts";
import { type AptContext, packagesFolder } from "./apt-archive.ts";
import { AptKernels, type AptNames, type AptPlaces } from "./apt-kernels.ts";
import type { Catalog, CatalogVersion } from "./catalog.ts";
import { debianArchitectures } from "./debian.ts";
import { upstreamVersion } from "./debian-version.ts";

/**
 * Ubuntu's kernels. The image of release `5.15.0-91-generic` is in `linux-image-…`, signed, or `linux-image-unsigned-…`; configuration and modules are in
 * `linux-modules-…` and `linux-modules-extra-…`; the source of its version `5.15.0-91.101` is in `linux-source-5.15.0`, or in the source package only.
 */
export class Ubuntu extends AptKernels {
  constructor(places: AptPlaces = {}, architecture = debianArchitectures[arch()] ?? arch()) {
    super(ubuntuNames(architecture), places);
  }
}

/** The flavour is part of the release, the architecture is not. */
const release = String.raw`\d+\.\d+\.\d+[^-\s]*(?:-\d[^-\s]*)?-[a-z][a-z0-9-]*?`;
const imageName = new RegExp(`^linux-image-(?:unsigned-)?(${release})$`);
/** Debug symbols are in packages of the same names with this end, in an archive of their own. */
const debug = /-dbg(sym)?$/;

function ubuntuNames(architecture: string): AptNames {
  const others = `(?:modules|modules-extra|headers)-${release}`;
  return {
    name: "ubuntu",
    catalog: {
      key: `ubuntu-${architecture}`,
      wanted: new RegExp(
        `^linux-(?:image-(?:unsigned-)?${release}|${others}|(?:.+-)?source-\\d+\\.\\d+\\.\\d+)$(?<!-dbgsym|-dbg)`,
      ),
      installed: ["linux-image-*", "linux-modules-*", "linux-headers-*", "linux-*source-*"],
      meta: "linux-image-generic",
      releaseOf: (name) => (debug.test(name) ? undefined : imageName.exec(name)?.[1]),
    },
    plain: /-generic$/,
    companions: (name) => [`linux-modules-${name}`],
    furtherModules: (name) => [`linux-modules-extra-${name}`],
    sourcePackage,
    sourceArchives: (name) =>
      ["bz2", "xz", "gz", "zst"].flatMap((suffix) => [
        `usr/src/${name}/${name}.tar.${suffix}`,
        `usr/src/${name}.tar.${suffix}`,
      ]),
    history: "launchpad.net/ubuntu/+source/linux, or enable the archive's deb-src entries",
    packageVersionIn: ({ release: name, version }) => {
      // `#101-Ubuntu` is the upload of `5.15.0-91-generic`, together 5.15.0-91.101; `#14~22.04.1-Ubuntu` is 6.5.0-14.14~22.04.1.
      const upload = /^#(\S+)-Ubuntu /.exec(version)?.[1];
      const abi = /^\d+\.\d+\.\d+-\d+/.exec(name)?.[0];
      return upload === undefined || abi === undefined ? undefined : `${abi}.${upload}`;
    },
    sourceElsewhere: (catalog, name, image, context) => unpackedSource(sourceOf(catalog, name, image), context),
  };
}

/** The signed image is made by a source package of signatures; that of the modules is the kernel's own. */
function sourceOf(catalog: Catalog, name: string, image: CatalogVersion): PackageVersion {
  const modules = catalog.packages[`linux-modules-${name}`]?.find(({ version }) => version === image.version);
  const { name: source, version } = modules?.source ?? image.source ?? { name: "linux", version: image.version };
  return { name: source.replace(/^linux-signed/, "linux"), version };
}

/** `linux-source-5.15.0` is made by the source package `linux`, `linux-hwe-6.5-source-6.5.0` by `linux-hwe-6.5`. */
function sourcePackage(catalog: Catalog, name: string, image: CatalogVersion): PackageVersion {
  const source = sourceOf(catalog, name, image);
  return { name: `${source.name}-source-${upstreamVersion(source.version)}`, version: source.version };
}

/** The source package itself, with its changes applied, as an archive in the cache. */
async function unpackedSource(source: PackageVersion, context: AptContext): Promise<string | undefined> {
  const packages = packagesFolder(context);
  const archive = join(packages, `source-${source.name}_${source.version}.tar.zst`);
  if (await exists(archive)) return archive;
  const unpack = async (): Promise<string | undefined> => {
    if (await exists(archive)) return archive;
    const folder = temporaryBeside(join(packages, "source"));
    try {
      await makeFolder(folder).catch(rethrowDiskErrors);
      const download = (): Promise<boolean> => downloadSource(source, folder, context);
      if (!(await context.progress.phase("source", "Fetch the source package of the kernel", download)))
        return undefined;
      await requireProgram("dpkg-source", "it unpacks source packages", "dpkg-dev");
      const description = (await readdir(folder)).find((name) => name.endsWith(".dsc"));
      if (description === undefined) throw new Error(`apt-get downloaded no .dsc of ${source.name}`);
      const { signal } = context;
      await context.progress.phase("unpack-source", "Unpack the source package", async () => {
        // apt has checked the signature of the archive's index and the digests of the files.
        const words = ["--no-check", "-x", description, "linux"];
        await run("dpkg-source", words, { cwd: folder, signal });
        await packTree(join(folder, "linux"), archive, signal);
      });
      return archive;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  return withLock(`${archive}.lock`, unpack, {
    onWait: (pid) => context.progress.note(`process ${pid} is unpacking the same source package; waiting for it`),
    signal: context.signal,
  });
}
