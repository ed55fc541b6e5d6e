import { createHash } from "node:crypto";
import { chmod, mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { rethrowDiskErrors } from "../support/cache.ts";
import { run } from "../support/run.ts";
import { controlLine, controlText } from "./escape.ts";
import { changelogLines, metadataText } from "./metadata.ts";
import { debianName } from "./package-name.ts";
import { metadataPath, type PackagePlan } from "./package-plan.ts";
import { debScriptlets } from "./scriptlets.ts";

/** File name of the package. */
export function debFileName(plan: PackagePlan): string {
  return `${plan.debName}_${plan.version}-${plan.release}_${plan.architecture.deb}.deb`;
}

/**
 * Makes a deb with dpkg-deb, which keeps every byte of the files. Times are those of the plan and owners are root, so that the same plan gives the same bytes.
 * @param folder an empty folder to work in.
 * @returns path of the package inside the folder.
 * @throws KmendError `PROGRAM_MISSING` (exit 5), `PROGRAM_FAILED`
 */
export async function buildDeb(plan: PackagePlan, folder: string, signal?: AbortSignal): Promise<string> {
  const root = join(folder, "root");
  const files = new Map<string, string | Uint8Array>();
  for (const { payload, finished } of plan.modules) if (finished !== undefined) files.set(payload, finished.content);
  const doc = `/usr/share/doc/${plan.debName}`;
  files.set(metadataPath(plan), metadataText(plan));
  files.set(`${doc}/copyright`, copyright(plan));
  files.set(`${doc}/changelog.Debian.gz`, gzipSync(changelog(plan), { level: 9 }));
  const control = new Map<string, string>([
    ["control", controlFile(plan, files)],
    ["md5sums", md5sums(files)],
  ]);
  if (plan.modules.length > 0) {
    const { before, after, beforeRemoval, afterRemoval } = debScriptlets(plan);
    const scripts = { preinst: before, postinst: after, prerm: beforeRemoval, postrm: afterRemoval };
    for (const [name, script] of Object.entries(scripts)) control.set(name, `#!/bin/sh\n${script}`);
  }
  try {
    for (const [path, content] of files) await put(join(root, path), content, 0o644);
    for (const [name, text] of control) {
      await put(join(root, "DEBIAN", name), text, text.startsWith("#!") ? 0o755 : 0o644);
    }
    await settle(root, [...files.keys(), ...[...control.keys()].map((name) => `/DEBIAN/${name}`)], plan.epoch);
    const path = join(folder, debFileName(plan));
    await run("dpkg-deb", ["--root-owner-group", "-Zxz", "--build", root, path], {
      env: { SOURCE_DATE_EPOCH: String(plan.epoch) },
      signal,
      timeout: 120_000,
    });
    return path;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function put(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 }).catch(rethrowDiskErrors);
  await writeFile(path, content).catch(rethrowDiskErrors);
  await chmod(path, mode);
}

/** Sets times and, whatever the umask was, modes of folders. */
async function settle(root: string, files: readonly string[], epoch: number): Promise<void> {
  const folders = new Set<string>(["/"]);
  for (const file of files) {
    await utimes(join(root, file), epoch, epoch);
    for (let folder = dirname(file); folder !== "/"; folder = dirname(folder)) folders.add(folder);
  }
  for (const folder of [...folders].sort().reverse()) {
    await chmod(join(root, folder), 0o755);
    await utimes(join(root, folder), epoch, epoch);
  }
}

/** deb-control(5). */
function controlFile(plan: PackagePlan, files: ReadonlyMap<string, string | Uint8Array>): string {
  const kibibytes = [...files.values()].reduce((sum, content) => sum + Math.ceil(Buffer.byteLength(content) / 1024), 0);
  const kernels = plan.kernels.flatMap((kernel) => [`linux-image-${kernel}`, `linux-image-${kernel}-unsigned`]);
  const fields = {
    Package: plan.debName,
    Version: `${plan.version}-${plan.release}`,
    Architecture: plan.architecture.deb,
    Maintainer: controlLine(plan.maintainer),
    "Installed-Size": String(kibibytes),
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

function md5sums(files: ReadonlyMap<string, string | Uint8Array>): string {
  const sums = [...files].map(
    ([path, content]) => `${createHash("md5").update(content).digest("hex")}  ${path.slice(1)}`,
  );
  return `${sums.sort().join("\n")}\n`;
}
