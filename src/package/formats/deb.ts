import { gzipSync } from "node:zlib";
import { changelogLines, metadataText } from "../metadata.ts";
import { debianName } from "../package-name.ts";
import { metadataPath, type PackagePlan } from "../package-plan.ts";
import { installedSize, packDeb } from "./deb-archive.ts";
import { controlLine, controlText } from "./escape.ts";
import { debScriptlets } from "./scriptlets.ts";

/** File name of the package. */
function debFileName(plan: PackagePlan): string {
  return `${plan.debName}_${plan.version}-${plan.release}_${plan.architecture.deb}.deb`;
}

/**
 * Makes a deb of a plan.
 * @param folder an empty folder to work in.
 * @returns path of the package inside the folder.
 * @throws KmendError `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function buildDeb(plan: PackagePlan, folder: string, signal?: AbortSignal): Promise<string> {
  const files = new Map<string, string | Uint8Array>();
  for (const { payload, finished } of plan.modules) if (finished !== undefined) files.set(payload, finished.content);
  const doc = `/usr/share/doc/${plan.debName}`;
  files.set(metadataPath(plan), metadataText(plan));
  files.set(`${doc}/copyright`, copyright(plan));
  files.set(`${doc}/changelog.Debian.gz`, gzipSync(changelog(plan), { level: 9 }));
  const control = new Map([["control", controlFile(plan, files)]]);
  if (plan.modules.length > 0) {
    const { before, after, beforeRemoval, afterRemoval } = debScriptlets(plan);
    const scripts = { preinst: before, postinst: after, prerm: beforeRemoval, postrm: afterRemoval };
    for (const [name, script] of Object.entries(scripts)) control.set(name, `#!/bin/sh\n${script}`);
  }
  const entries = [...files].map(([path, content]) => [path, { kind: "file", content, mode: 0o644 }] as const);
  return packDeb({ files: new Map(entries), control, epoch: plan.epoch, file: debFileName(plan) }, folder, signal);
}

/** deb-control(5). */
function controlFile(plan: PackagePlan, files: ReadonlyMap<string, string | Uint8Array>): string {
  const kernels = plan.kernels.flatMap((kernel) => [`linux-image-${kernel}`, `linux-image-${kernel}-unsigned`]);
  const fields = {
    Package: plan.debName,
    Version: `${plan.version}-${plan.release}`,
    Architecture: plan.architecture.deb,
    Maintainer: controlLine(plan.maintainer),
    "Installed-Size": String(installedSize(files.values())),
    Depends: kernels.map((name) => name.toLowerCase().replaceAll("_", "-")).join(" | "),
    Recommends: "kmend | kpatch",
    Provides: plan.kernels.map((kernel) => debianName(`livepatch-${kernel}`)).join(", "),
    Section: "kernel",
    Priority: "optional",
    Description: controlLine(plan.summary) || plan.name,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
  const text = controlText([plan.description, plan.cves.length > 0 ? `Fixes ${plan.cves.join(", ")}.` : ""].join("\n"));
  return `${[...lines, ...(text === "" ? [] : [text])].join("\n")}\n`;
}

/** deb-changelog(5); the details of an entry are indented by two spaces. */
function changelog(plan: PackagePlan): string {
  const date = new Date(plan.epoch * 1000).toUTCString().replace("GMT", "+0000");
  const urgency = plan.severity === "Critical" || plan.severity === "Important" ? "high" : "medium";
  return [
    `${plan.debName} (${plan.version}-${plan.release}) stable; urgency=${urgency}`,
    "",
    ...changelogLines(plan).map((line) => `  * ${controlLine(line)}`),
    "",
    ` -- ${controlLine(plan.maintainer)}  ${date}`,
    "",
  ].join("\n");
}

/** A patch module is made from the kernel's source, so its licence is the kernel's. */
function copyright(plan: PackagePlan): string {
  return [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    "",
    "Files: *",
    "Copyright: the authors of the Linux kernel and of the patches",
    `License: ${controlLine(plan.license)}`,
    " On Debian systems, the text of the GNU General Public License version 2 is in",
    " /usr/share/common-licenses/GPL-2.",
    "",
  ].join("\n");
}
