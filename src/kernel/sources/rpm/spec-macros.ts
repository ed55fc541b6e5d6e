import type { RpmFile } from "./rpm-file.ts";

/** Macros that a distribution's build system sets by the tag in a release: `427.el9_4` was built where `rhel` is 9. */
const families: readonly { readonly tag: RegExp; readonly macros: (version: string) => Record<string, string> }[] = [
  { tag: /^\.fc(\d+)/, macros: (version) => ({ fedora: version, [`fc${version}`]: "1" }) },
  { tag: /^\.el(\d+)/, macros: (version) => ({ rhel: version, [`el${version}`]: "1" }) },
  { tag: /^\.amzn(\d+)/, macros: (version) => ({ amzn: version }) },
];

/** Stands for the value of `dist` while its place is looked for. */
const marker = ".kmenddist";

/**
 * The macros of the distribution that a source RPM was built on, so that its spec says what it said there, also on another distribution: `dist` is what
 * the release of the RPM has in the place where the spec puts it.
 * @param releaseWith release that the spec evaluates to with these macros; empty when it does not evaluate.
 */
export async function distributionMacros(
  rpm: Pick<RpmFile, "release">,
  releaseWith: (macros: Readonly<Record<string, string>>) => Promise<string>,
): Promise<Readonly<Record<string, string>>> {
  const [before = "", after, ...more] = (await releaseWith({ dist: marker })).split(marker);
  const tag = /\.(?:fc|el|amzn)\d+\S*$/.exec(rpm.release)?.[0] ?? "";
  const fits =
    after !== undefined && more.length === 0 && rpm.release.startsWith(before) && rpm.release.endsWith(after);
  const dist = fits ? rpm.release.slice(before.length, rpm.release.length - after.length) : tag;
  if (dist === "") return {};
  const family = families.find((row) => row.tag.test(dist));
  const version = family?.tag.exec(dist)?.[1];
  return { dist, ...(family === undefined || version === undefined ? {} : family.macros(version)) };
}
