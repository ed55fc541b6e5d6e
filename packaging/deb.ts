import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { installedSize, packDeb } from "../src/package/formats/deb-archive.ts";
import { controlLine } from "../src/package/formats/escape.ts";
import { nobody } from "../src/package/package-plan.ts";
import { version } from "../src/support/version.ts";
import type { Effort, OwnPackage } from "./content.ts";
import { kpatchInterface, replaced, suggestions } from "./relations.ts";

/** xz makes the program a third smaller than gzip, and takes a minute for it. */
const compressions: Readonly<Record<Effort, readonly string[]>> = { small: ["-Zxz"], quick: ["-Zgzip", "-z1"] };

/** Makes the deb of one of kmend's own packages. @param folder an empty one to work in. @returns its path. */
export async function ownDeb(own: OwnPackage, epoch: number, folder: string, effort: Effort): Promise<string> {
  const architecture = own.name === "kmend" ? "amd64" : "all";
  const doc = `/usr/share/doc/${own.name}`;
  const changes = gzipSync(changelog(own.name, epoch), { level: 9 });
  const files = new Map([
    ...own.files,
    [`${doc}/changelog.gz`, { kind: "file", content: changes, mode: 0o644 }] as const,
  ]);
  if (own.name === "kmend") {
    files.set("/usr/share/lintian/overrides/kmend", { kind: "file", content: Buffer.from(overrides), mode: 0o644 });
  }
  const contents = [...files.values()].flatMap((file) => (file.kind === "file" ? [file.content] : []));
  const relations = own.name === "kmend" ? mainRelations(own, folder) : compatRelations();
  const fields: Readonly<Record<string, string>> = {
    Package: own.name,
    Version: version(),
    Architecture: architecture,
    Maintainer: maintainer(),
    "Installed-Size": String(installedSize(contents)),
    ...relations,
    Section: "admin",
    Priority: "optional",
    Description: own.summary,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${controlLine(value)}`);
  const control = new Map([["control", `${[...lines, ...folded(own.description)].join("\n")}\n`]]);
  if (own.name === "kmend") {
    for (const [name, text] of Object.entries(serviceScripts)) control.set(name, `#!/bin/sh\nset -e\n${text}`);
    // Hooks and what they put into an initramfs come and go together.
    control.set("triggers", "activate-noawait update-initramfs\n");
  }
  const file = `${own.name}_${version()}_${architecture}.deb`;
  return packDeb({ files, control, epoch, file, compression: compressions[effort] }, folder);
}

/** Who answers for the packages: as for Debian's own tools, DEBFULLNAME and DEBEMAIL. */
function maintainer(): string {
  const { DEBFULLNAME: name, DEBEMAIL: address } = process.env;
  return address === undefined || address === "" ? nobody : `${name ?? address} <${address}>`;
}

/** dpkg-shlibdeps finds the packages of the libraries. */
function mainRelations(own: OwnPackage, folder: string): Record<string, string> {
  const program = own.files.get("/usr/bin/kmend");
  if (program?.kind !== "file") throw new Error("the package has no program");
  const at = join(folder, "libraries");
  mkdirSync(join(at, "debian"), { recursive: true });
  writeFileSync(join(at, "debian/control"), "Source: kmend\n\nPackage: kmend\nArchitecture: any\n");
  writeFileSync(join(at, "kmend"), program.content, { mode: 0o755 });
  const said = execFileSync("dpkg-shlibdeps", ["-O", "kmend"], { cwd: at, encoding: "utf8", stdio: "pipe" });
  const libraries = /^shlibs:Depends=(.+)$/m.exec(said)?.[1];
  if (libraries === undefined) throw new Error(`dpkg-shlibdeps says ${said}`);
  return { Depends: `${libraries}, kmod`, Suggests: suggestions().join(", ") };
}

function compatRelations(): Record<string, string> {
  return {
    Depends: `kmend (>= ${version()})`,
    Conflicts: [...replaced, "ksplice"].join(", "),
    Provides: replaced.map((name) => `${name} (= ${kpatchInterface})`).join(", "),
  };
}

/** The description's other lines, at most 80 wide. */
function folded(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    if ((lines.at(-1) as string).length + word.length > 78) lines.push("");
    lines[lines.length - 1] += ` ${word}`;
  }
  return lines;
}

function changelog(name: string, epoch: number): string {
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `${name} (${version()}) unstable; urgency=medium\n\n  * Version ${version()}.\n\n -- ${maintainer()}  ${date}\n`;
}

/** What lintian says of every program that carries Node. */
const overrides = `# One file for hosts without Node: it holds Node with the libraries that Node brings along.
kmend: embedded-library *usr/bin/kmend*
`;

/**
 * Scripts in the manner of debhelper's for units: the administrator's choice to disable or mask the service survives upgrades. Installing enables it and starts
 * nothing: patches are loaded at the next boot, or by hand. Stopping it takes no patch out of force.
 */
const serviceScripts: Readonly<Record<string, string>> = {
  postinst: `case "$1" in
configure | abort-upgrade | abort-deconfigure | abort-remove)
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper unmask kmend.service >/dev/null || true
		if deb-systemd-helper --quiet was-enabled kmend.service; then
			deb-systemd-helper enable kmend.service >/dev/null || true
		else
			deb-systemd-helper update-state kmend.service >/dev/null || true
		fi
	fi
	if [ -z "\${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
	fi
	;;
esac
`,
  prerm: `if [ "$1" = remove ] && [ -z "\${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop kmend.service kmend-confirm.service >/dev/null || true
fi
`,
  postrm: `if [ "$1" = remove ] && [ -z "\${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge kmend.service >/dev/null || true
	fi
	# Records of the boots. Installed patch modules and what packages of them note are not kmend's.
	rm -rf /var/lib/kmend/boot
	rmdir /var/lib/kmend 2>/dev/null || true
fi
`,
};
