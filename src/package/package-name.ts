import { cveIdPattern } from "../support/cve-id.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/**
 * Whose conventions a package follows: those of kpatch-package-builder (`kpatch-module-NAME`, one file below /var/lib/kpatch), or those of Red Hat's
 * live patches (`kpatch-patch-KERNEL`, cumulative, tied to one kernel).
 */
export type Profile = "kpatch-module" | "kpatch-patch";

/** Names of machines in the places that need one. */
export interface Architecture {
  /** As uname -m and rpm say it. */
  readonly rpm: string;
  /** As dpkg says it. */
  readonly deb: string;
}

/** By e_machine (ELF gABI). */
export const architectures: Readonly<Record<number, Architecture>> = {
  62: { rpm: "x86_64", deb: "amd64" },
  183: { rpm: "aarch64", deb: "arm64" },
  21: { rpm: "ppc64le", deb: "ppc64el" },
  22: { rpm: "s390x", deb: "s390x" },
};

/**
 * Makes sure that kernels are for the architecture of a package, as far as their releases end in the name of one, as those of Debian do: `6.1.0-57-amd64`.
 * @throws KmendError `USAGE`
 */
export function requireArchitecture(releases: readonly string[], { rpm, deb }: Architecture): void {
  for (const release of releases) {
    const named = Object.values(architectures).find((one) => new RegExp(`[-.](${one.deb}|${one.rpm})$`).test(release));
    if (named === undefined || named.rpm === rpm) continue;
    throw new KmendError({
      code: "USAGE",
      message: `the package would be for ${rpm} (${deb}), and kernel ${release} is for ${named.rpm}`,
      hint: "give a kernel of that architecture, or another architecture",
      exitCode: ExitCode.usage,
    });
  }
}

/** The architecture of that name in either spelling. @throws KmendError `ARCHITECTURE` (exit 2). */
export function architectureNamed(name: string): Architecture {
  const found = Object.values(architectures).find(({ rpm, deb }) => rpm === name || deb === name);
  if (found !== undefined) return found;
  const known = Object.values(architectures).map(({ rpm }) => rpm);
  throw new KmendError({
    code: "ARCHITECTURE",
    message: `there are no packages for the architecture "${shown(name)}"`,
    hint: `the known ones are ${known.join(", ")}`,
    exitCode: ExitCode.usage,
  });
}

interface Rule {
  readonly what: string;
  readonly pattern: RegExp;
  readonly wording: string;
}

/** What the values that end up in file names, package fields and scripts may look like; everything else is refused. */
const rules = {
  /** `-` separates fields in an RPM's file name, so neither part may hold one; `~`, `^` and `+` have their meaning for rpm and dpkg both. */
  version: {
    what: "version",
    pattern: /^[0-9][A-Za-z0-9.+~]{0,63}$/,
    wording: "a version begins with a digit and has letters, digits and .+~",
  },
  release: {
    what: "release",
    pattern: /^[A-Za-z0-9][A-Za-z0-9.+~]{0,63}$/,
    wording: "a release has letters, digits and .+~",
  },
  name: {
    what: "package name",
    pattern: /^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$/,
    wording: "a name begins with a letter or digit and has letters, digits and ._+-",
  },
  kernel: {
    what: "kernel release",
    pattern: /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$/,
    wording: "it is what uname -r prints: letters, digits and ._+~-",
  },
  cve: { what: "CVE id", pattern: cveIdPattern, wording: "an id looks like CVE-2024-12345" },
} as const satisfies Record<string, Rule>;

/** Returns `value` when it is a valid one of its kind. @throws KmendError `PACKAGE_VALUE` (exit 2). */
export function checked(kind: keyof typeof rules, value: string): string {
  const { what, pattern, wording } = rules[kind];
  if (pattern.test(value)) return value;
  throw new KmendError({
    code: "PACKAGE_VALUE",
    message: `"${shown(value)}" cannot be a ${what}`,
    why: wording,
    hint: "give another value",
    exitCode: ExitCode.usage,
  });
}

function shown(value: string): string {
  return JSON.stringify(value).slice(1, -1).slice(0, 80);
}

/** Turns any text, such as the name of a patch file, into part of a package name. */
export function nameFrom(text: string): string {
  const name = text.replace(/[^A-Za-z0-9._+-]+/g, "-").replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9+]+$/g, "");
  return name === "" ? "patch" : name.slice(0, 100);
}

/** Package name of the kpatch-module profile: `livepatch-x.ko` and `kpatch-x.ko` are both `kpatch-module-x`. */
export function moduleProfileName(moduleFile: string): string {
  return `kpatch-module-${nameFrom(moduleFile.replace(/\.ko$/, "").replace(/^(kpatch|livepatch)[-_](?=.)/, ""))}`;
}

/**
 * Package name of the kpatch-patch profile, from the kernel's release: without architecture and without `.elN_M`, dots as underscores
 * (`5.14.0-362.8.1.el9_3.x86_64` is `kpatch-patch-5_14_0-362_8_1`).
 */
export function patchProfileName(release: string, architecture: Architecture): string {
  return `kpatch-patch-${withoutArchitecture(release, architecture)
    .replace(/\.el\d+(_\d+)*/, "")
    .replaceAll(".", "_")}`;
}

/** The release without the architecture that Red Hat's kernels carry at its end. */
export function withoutArchitecture(release: string, { rpm }: Architecture): string {
  return release.endsWith(`.${rpm}`) ? release.slice(0, -rpm.length - 1) : release;
}

/** True when `kernel` names that release, whole or without the architecture at its end, as Red Hat's and Debian's have it. */
export function isRelease(release: string, kernel: string, { rpm, deb }: Architecture): boolean {
  return [kernel, `${kernel}.${rpm}`, `${kernel}-${deb}`].includes(release);
}

/** The same name as dpkg allows it: lower case letters, digits and `+-.`, at least two characters (Debian Policy 5.6.1). */
export function debianName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9+.-]/g, "-");
}

/** The profile that people who run this kernel expect: Red Hat's convention for its family. */
export function defaultProfile(releases: readonly string[]): Profile {
  return releases.length === 1 && /\.el\d/.test(releases[0] as string) ? "kpatch-patch" : "kpatch-module";
}
