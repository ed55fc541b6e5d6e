import { chmodSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { specText } from "../src/package/formats/escape.ts";
import { changelogDate, preamble } from "../src/package/formats/spec.ts";
import { nobody } from "../src/package/package-plan.ts";
import { run } from "../src/support/run.ts";
import { version } from "../src/support/version.ts";
import type { Effort, OwnPackage } from "./content.ts";
import { kpatchInterface, replaced } from "./relations.ts";

/** Folders that belong to a package of ours alone; all others are the system's. */
const ownFolders = /^\/usr\/(lib\/kmend|share\/doc\/kmend[^/]*|lib\/dracut\/modules\.d\/90kmend)(\/|$)/;

const payloads: Readonly<Record<Effort, string>> = { small: "w3.xzdio", quick: "w1.gzdio" };

const preset = "/usr/lib/systemd/system-preset/80-kmend.preset";

/** Makes the RPMs of kmend's own packages. @param folder an empty one to work in. @returns their paths. */
export async function ownRpms(
  packages: readonly OwnPackage[],
  epoch: number,
  folder: string,
  effort: Effort,
): Promise<readonly string[]> {
  const root = join(folder, "root");
  const [main] = packages;
  if (main?.name !== "kmend") throw new Error("kmend is the first of the packages");
  const all = packages.map((own) => {
    if (own !== main) return own;
    // What Fedora's and Red Hat's presets do not name is not enabled.
    const file = { kind: "file", content: Buffer.from("enable kmend.service\n"), mode: 0o644 } as const;
    return { ...own, files: new Map([...own.files, [preset, file] as const]) };
  });
  for (const { files } of all) for (const [path, file] of files) put(join(root, path), file);
  const spec = join(folder, "kmend.spec");
  writeFileSync(spec, specOf(all, epoch, root, effort));
  utimesSync(spec, epoch, epoch);
  const defines = ["--define", `_topdir ${folder}`, "--define", `_rpmdir ${folder}`];
  const env = { SOURCE_DATE_EPOCH: String(epoch) };
  await run("rpmbuild", ["-bb", "--target", "x86_64", ...defines, spec], { cwd: folder, env, timeout: 600_000 });
  const made = ["x86_64", "noarch"].flatMap((architecture) => {
    return readdirSync(join(folder, architecture)).map((name) => join(folder, architecture, name));
  });
  if (made.length !== packages.length) throw new Error(`rpmbuild made ${made.join(", ")}`);
  return made;
}

function put(path: string, file: OwnPackage["files"] extends ReadonlyMap<string, infer File> ? File : never): void {
  mkdirSync(dirname(path), { recursive: true });
  if (file.kind === "link") symlinkSync(file.target, path);
  else {
    writeFileSync(path, file.content);
    chmodSync(path, file.mode);
  }
}

function specOf(packages: readonly OwnPackage[], epoch: number, root: string, effort: Effort): string {
  const [main, compat] = packages as readonly [OwnPackage, OwnPackage];
  const lines = [
    ...preamble,
    `%global _binary_payload ${payloads[effort]}`,
    "Name: kmend",
    `Version: ${version()}`,
    "Release: 1",
    `Summary: ${main.summary}`,
    "License: GPL-2.0-or-later AND MIT AND BSD-2-Clause AND BSD-3-Clause AND Apache-2.0 AND ISC",
    "Requires: kmod",
    "Requires(post): systemd",
    "Requires(preun): systemd",
    "Requires(postun): systemd",
    "%description",
    specText(main.description),
    "%package -n kmend-compat",
    `Summary: ${compat.summary}`,
    "BuildArch: noarch",
    `Requires: kmend >= ${version()}`,
    ...replaced.flatMap((name) => [`Conflicts: ${name}`, `Provides: ${name} = ${kpatchInterface}`]),
    "Conflicts: kpatch-runtime",
    `Provides: kpatch-runtime = ${kpatchInterface}`,
    "%description -n kmend-compat",
    specText(compat.description),
    "%install",
    `mkdir -p '%{buildroot}'`,
    `cp -a '${root.replaceAll("%", "%%")}/.' '%{buildroot}/'`,
    ...serviceScriptlets,
    "%files",
    ...filesOf(main),
    "%files -n kmend-compat",
    ...filesOf(compat),
    "%changelog",
    `* ${changelogDate(epoch)} ${nobody} - ${version()}-1`,
    `- Version ${version()}.`,
  ];
  return `${lines.join("\n")}\n`;
}

function filesOf({ files }: OwnPackage): string[] {
  const folders = new Set<string>();
  for (const path of files.keys()) {
    for (let folder = dirname(path); ownFolders.test(folder); folder = dirname(folder)) folders.add(folder);
  }
  const rows = [...files].map(([path, file]) => {
    const kind = path.startsWith("/usr/share/doc/") || path.startsWith("/usr/share/man/") ? "%doc " : "";
    return file.kind === "link" ? path : `%attr(0${file.mode.toString(8)},root,root) ${kind}${path}`;
  });
  return [...[...folders].sort().map((folder) => `%dir %attr(0755,root,root) ${folder}`), ...rows];
}

/**
 * What systemd's macros for units become, written out for rpmbuild without them: the preset decides when the package comes, and the administrator later.
 * Nothing is started: patches are loaded at the next boot, or by hand.
 */
const serviceScriptlets = [
  "%post",
  "if [ $1 -eq 1 ]; then",
  "  if [ -x /usr/lib/systemd/systemd-update-helper ]; then",
  "    /usr/lib/systemd/systemd-update-helper install-system-units kmend.service || :",
  "  elif command -v systemctl >/dev/null 2>&1; then",
  "    systemctl --no-reload preset kmend.service >/dev/null 2>&1 || :",
  "  fi",
  "fi",
  "%preun",
  "if [ $1 -eq 0 ]; then",
  "  if [ -x /usr/lib/systemd/systemd-update-helper ]; then",
  "    /usr/lib/systemd/systemd-update-helper remove-system-units kmend.service kmend-confirm.service || :",
  "  elif command -v systemctl >/dev/null 2>&1; then",
  "    systemctl --no-reload disable --now kmend.service >/dev/null 2>&1 || :",
  "  fi",
  "fi",
  "%postun",
  "if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then",
  "  systemctl daemon-reload >/dev/null 2>&1 || :",
  "fi",
  "if [ $1 -eq 0 ]; then",
  "  rm -rf /var/lib/kmend/boot",
  "  rmdir /var/lib/kmend 2>/dev/null || :",
  "fi",
];
