import { ExitCode, KmendError } from "../support/errors.ts";
import type { FinishedModule } from "./built-module.ts";
import {
  type Architecture,
  checked,
  debianName,
  defaultProfile,
  moduleProfileName,
  type Profile,
  patchProfileName,
  withoutArchitecture,
} from "./package-name.ts";

/** How bad the fixed problem is, in the words of updateinfo. */
export const severities = ["Low", "Moderate", "Important", "Critical"] as const;
export type Severity = (typeof severities)[number];

/** One module at its place in a package. */
export interface PackagedModule {
  /** File name with `.ko`. */
  readonly file: string;
  readonly name: string;
  readonly release: string;
  /** Where the package manager puts it. */
  readonly payload: string;
  /** Where it is looked for at boot; the same as `payload`, or a copy that the scriptlets make and remove. */
  readonly staged: string;
  /** Undefined in a spec that still has to build the module. */
  readonly finished: FinishedModule | undefined;
}

/** A source patch that goes into the package's sources and description. */
export interface PackagedPatch {
  /** Base name as the user knows it. */
  readonly name: string;
  /** Name that is safe in a spec and on a command line, unique in its package. */
  readonly file: string;
  readonly content: Uint8Array;
}

/** What a package says and holds, the same for every format. All of it is checked: only texts may hold any character. */
export interface PackagePlan {
  readonly profile: Profile;
  /** As rpm spells it. */
  readonly name: string;
  /** As dpkg spells it. */
  readonly debName: string;
  readonly version: string;
  readonly release: string;
  readonly architecture: Architecture;
  readonly summary: string;
  readonly description: string;
  readonly license: string;
  readonly maintainer: string;
  readonly cves: readonly string[];
  readonly severity: Severity | undefined;
  /** Kernels that the package is for, sorted; also of an empty package. */
  readonly kernels: readonly string[];
  readonly modules: readonly PackagedModule[];
  readonly patches: readonly PackagedPatch[];
  /** Which patches make the module of a kernel: indices of `patches` by kernel release. */
  readonly patchesOf: ReadonlyMap<string, readonly number[]>;
  /** Whether the kernels are those of a source tree, which whoever builds the modules later has to name. */
  readonly ownTree: boolean;
  /** Options of kmend build that the user gave, for whoever builds the modules later. */
  readonly buildWords: readonly string[];
  /** Load at installation when that kernel runs; false only stages. */
  readonly activate: boolean;
  /** Seconds since 1970 that stand for the time of the build. */
  readonly epoch: number;
}

/** What the user may decide about a package; the rest follows from the modules. */
export interface PackageChoices {
  readonly profile?: Profile | undefined;
  readonly name?: string | undefined;
  readonly version?: string | undefined;
  readonly release?: string | undefined;
  readonly summary?: string | undefined;
  readonly description?: string | undefined;
  readonly license?: string | undefined;
  readonly maintainer?: string | undefined;
  readonly cves?: readonly string[] | undefined;
  readonly severity?: Severity | undefined;
  readonly activate?: boolean | undefined;
}

/** What a package is made of. */
export interface PackageContent {
  readonly architecture: Architecture;
  /** Name, kernel and, when it is built already, the module itself. */
  readonly modules: readonly {
    readonly file: string;
    readonly release: string;
    readonly finished?: FinishedModule | undefined;
  }[];
  /** Kernels of a package without modules. */
  readonly kernels?: readonly string[] | undefined;
  readonly patches?: readonly PackagedPatch[] | undefined;
  readonly patchesOf?: ReadonlyMap<string, readonly number[]> | undefined;
  readonly ownTree?: boolean | undefined;
  readonly buildWords?: readonly string[] | undefined;
  /** What the description says that it was made from, and by which program. */
  readonly origin: string;
  readonly epoch: number;
}

/** Maintainer of packages when nobody is named. */
export const nobody = "kmend package builder <nobody@invalid>";

/**
 * Lays out a package.
 * @throws KmendError `PACKAGE_VALUE`, `PACKAGE_KERNELS`, `PACKAGE_ARCHITECTURE`, `PACKAGE_NAME` (exit 2)
 */
export function planPackage(content: PackageContent, choices: PackageChoices): PackagePlan {
  const { architecture, modules } = content;
  const kernels = [
    ...new Set([...modules.map(({ release }) => release), ...(content.kernels ?? [])].map((k) => checked("kernel", k))),
  ].sort();
  const profile = choices.profile ?? defaultProfile(kernels);
  if (kernels.length === 0) throw wrong("PACKAGE_KERNELS", "the package is for no kernel", "give modules or kernels");
  if (profile === "kpatch-patch" && kernels.length > 1) {
    throw wrong(
      "PACKAGE_KERNELS",
      `a kpatch-patch package is for one kernel, not for ${kernels.join(", ")}`,
      "make one package for each kernel, or use --profile kpatch-module",
    );
  }
  for (const { finished } of modules) {
    if (finished === undefined || finished.architecture === architecture) continue;
    throw wrong(
      "PACKAGE_ARCHITECTURE",
      `${finished.file} is for ${finished.architecture.rpm}, the package for ${architecture.rpm}`,
      "make one package for each architecture",
    );
  }
  const packaged = modules
    .map(({ file, release, finished }) => placed(profile, file, release, finished))
    .sort((a, b) => (a.payload < b.payload ? -1 : 1));
  if (new Set(packaged.map(({ payload }) => payload)).size !== packaged.length) {
    throw wrong("PACKAGE_NAME", "two modules would be the same file of the package", "name them differently");
  }
  const empty = modules.length === 0;
  const named = modules.flatMap(({ finished }) => finished?.cves ?? []);
  const name = nameOf(profile, packaged, kernels, architecture, choices.name);
  return {
    profile,
    name,
    debName: debNameOf(name, profile, kernels, architecture, choices.name),
    version: checked("version", choices.version ?? (empty ? "0" : "1")),
    release: checked("release", choices.release ?? (empty ? "0" : "1")),
    architecture,
    summary: choices.summary ?? (empty ? "Subscription to live patches of a kernel" : "kpatch livepatch module"),
    description: choices.description ?? content.origin,
    license: choices.license ?? (profile === "kpatch-module" ? "GPLv2" : "GPL-2.0-only"),
    maintainer: choices.maintainer ?? nobody,
    cves: [...new Set([...named, ...(choices.cves ?? [])].map((cve) => checked("cve", cve)))].sort(),
    severity: choices.severity,
    kernels,
    modules: packaged,
    patches: content.patches ?? [],
    patchesOf: content.patchesOf ?? new Map(),
    ownTree: content.ownTree === true,
    buildWords: content.buildWords ?? [],
    activate: choices.activate !== false,
    epoch: content.epoch,
  };
}

function placed(profile: Profile, file: string, release: string, finished: FinishedModule | undefined): PackagedModule {
  const staged = `/var/lib/kpatch/${release}/${file}`;
  const payload = profile === "kpatch-module" ? staged : `/usr/lib/kpatch/${release}/${file}`;
  return { file, name: file.replace(/\.ko$/, "").replaceAll("-", "_"), release, payload, staged, finished };
}

function nameOf(
  profile: Profile,
  modules: readonly PackagedModule[],
  kernels: readonly string[],
  architecture: Architecture,
  given: string | undefined,
): string {
  if (given !== undefined) return checked("name", given);
  if (profile === "kpatch-patch") return checked("name", patchProfileName(kernels[0] as string, architecture));
  const names = new Set(modules.map(({ file }) => moduleProfileName(file)));
  const [only] = names;
  if (only !== undefined && names.size === 1) return checked("name", only);
  throw wrong("PACKAGE_NAME", "the package needs a name", "give one with --name");
}

/** dpkg allows dots where rpm's convention has underscores, so that the kernel's release stays readable. */
function debNameOf(
  name: string,
  profile: Profile,
  kernels: readonly string[],
  architecture: Architecture,
  given: string | undefined,
): string {
  if (given !== undefined || profile === "kpatch-module") return debianName(name);
  return debianName(`kpatch-patch-${withoutArchitecture(kernels[0] as string, architecture)}`);
}

function wrong(code: string, message: string, hint: string): KmendError {
  return new KmendError({ code, message, hint, exitCode: ExitCode.usage });
}

/** Where the description of the update lies in a package that has room for it. */
export function metadataPath(plan: PackagePlan): string {
  return `/usr/share/kmend/packages/${plan.debName}.json`;
}
