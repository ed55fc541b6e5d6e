import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { PackedFile } from "../src/package/formats/deb-archive.ts";
import { packageFolder } from "../src/support/own-files.ts";
import { version } from "../src/support/version.ts";
import { functionName } from "./completion.ts";
import { bashCompletion } from "./completion-bash.ts";
import { fishCompletion } from "./completion-fish.ts";
import { zshCompletion } from "./completion-zsh.ts";
import { compatibleLinks, type Executable } from "./executable.ts";
import { manualPages } from "./manual-page.ts";
import { compatiblePrograms, kmendProgram, type Program } from "./programs.ts";

/** Format of a package. */
export type Format = "deb" | "rpm";

/** Whether a package is to be small, or to be made quickly. */
export type Effort = "small" | "quick";

/** One of kmend's own packages, whatever its format. */
export interface OwnPackage {
  readonly name: "kmend" | "kmend-compat";
  readonly summary: string;
  /** One paragraph. */
  readonly description: string;
  /** By the path that they have on the system. */
  readonly files: ReadonlyMap<string, PackedFile>;
}

/** Where files of `system/` go; a folder's go there with their paths below it. */
const systemPlaces: readonly { readonly from: string; readonly to: string; readonly formats: readonly Format[] }[] = [
  { from: "kmend.service", to: "/usr/lib/systemd/system/kmend.service", formats: ["deb", "rpm"] },
  { from: "kmend-confirm.service", to: "/usr/lib/systemd/system/kmend-confirm.service", formats: ["deb", "rpm"] },
  { from: "initramfs/", to: "/usr/lib/kmend/initramfs/", formats: ["deb", "rpm"] },
  { from: "initramfs-tools/", to: "/usr/share/initramfs-tools/", formats: ["deb"] },
  // Debian has it too.
  { from: "dracut/", to: "/usr/lib/dracut/modules.d/", formats: ["deb", "rpm"] },
];

/** Where zsh looks for what packages bring. */
const zshFolders: Readonly<Record<Format, string>> = {
  deb: "/usr/share/zsh/vendor-completions",
  rpm: "/usr/share/zsh/site-functions",
};

/** Pages of the repository that go along as documentation. */
const guides = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs"];

/** Section of the manual; ksplice's own pages are in that of programs for administrators. */
function sectionOf({ name }: Program): number {
  return name.startsWith("ksplice-") ? 8 : 1;
}

/**
 * What both packages hold. Everything is made from the tables of commands, the checkout and the executable.
 * @param epoch of the manual pages, in seconds since 1970.
 */
export function packageContents(executable: Executable, epoch: number, format: Format): readonly OwnPackage[] {
  const edition = { version: version(), epoch };
  const main = new Map<string, PackedFile>();
  main.set("/usr/bin/kmend", file(readFileSync(executable.path), 0o755));
  for (const [path, content] of systemFiles(format)) main.set(path, content);
  addPages(main, [kmendProgram], edition);
  addCompletions(main, [kmendProgram], zshFolders[format]);
  for (const guide of guides) {
    for (const [name, content] of filesBelow(guide)) main.set(`/usr/share/doc/kmend/${name}`, file(content, 0o644));
  }
  const third = "/usr/share/doc/kmend/third-party-licences";
  main.set(third, file(Buffer.from(thirdPartyLicences(executable)), 0o644));
  const also = ` The program contains Node.js and packages of npm; their licences are in\n ${third}.\n`;
  main.set("/usr/share/doc/kmend/copyright", file(Buffer.from(`${notice(epoch)} .\n${also}`), 0o644));

  const compat = new Map<string, PackedFile>();
  const links = compatibleLinks();
  const described = compatiblePrograms.map(({ name }) => name).sort();
  if (links.join() !== described.join()) throw new Error(`compat/ has ${links.join()}, the manual ${described.join()}`);
  for (const name of links) compat.set(`/usr/bin/${name}`, { kind: "link", target: "kmend" });
  addPages(compat, compatiblePrograms, edition);
  addCompletions(compat, compatiblePrograms, zshFolders[format]);
  compat.set("/usr/share/doc/kmend-compat/copyright", file(Buffer.from(notice(epoch)), 0o644));
  return [
    {
      name: "kmend",
      summary: "live patching for Linux: from a source patch to a proven change",
      description:
        "kmend changes a Linux kernel while it runs. It makes patch modules for the kernel's own livepatch core from source patches, proves that they fit the kernel, tries them in a virtual machine, packages them, and loads, lists and removes them on a host.",
      files: main,
    },
    {
      name: "kmend-compat",
      summary: "kmend under the names of kpatch and ksplice",
      description: `Links by which kmend is ${links.slice(0, -1).join(", ")} and ${links.at(-1)}, with their options and exit codes.`,
      files: compat,
    },
  ];
}

function file(content: Uint8Array, mode: number): PackedFile {
  return { kind: "file", content, mode };
}

/** A file, or all files below a folder, with their contents. @returns names from the file's or the folder's place on. */
function filesBelow(path: string): readonly (readonly [string, Buffer])[] {
  const at = fileURLToPath(new URL(path, packageFolder()));
  if (!statSync(at).isDirectory()) return [[path, readFileSync(at)]];
  const names = readdirSync(at, { recursive: true, encoding: "utf8" }).sort();
  return names.filter((name) => statSync(join(at, name)).isFile()).map((name) => [name, readFileSync(join(at, name))]);
}

/** The files of `system/`. One without a place, and a place without a file, is an error: a package that lacks a hook looks whole. */
function systemFiles(format: Format): readonly (readonly [string, PackedFile])[] {
  const used = new Set<string>();
  const files = filesBelow("system").filter(([name]) => name !== "README.md");
  const placed = files.flatMap(([name, content]): readonly (readonly [string, PackedFile])[] => {
    const place = systemPlaces.find(({ from }) => (from.endsWith("/") ? name.startsWith(from) : name === from));
    if (place === undefined) throw new Error(`system/${name} has no place in a package`);
    used.add(place.from);
    if (!place.formats.includes(format)) return [];
    const executable = content.subarray(0, 2).toString("latin1") === "#!";
    return [[`${place.to}${name.slice(place.from.length)}`, file(content, executable ? 0o755 : 0o644)]];
  });
  const empty = systemPlaces.filter(({ from }) => !used.has(from));
  if (empty.length > 0) throw new Error(`system/ lacks ${empty.map(({ from }) => from).join(", ")}`);
  return placed;
}

function addPages(
  files: Map<string, PackedFile>,
  programs: readonly Program[],
  edition: { version: string; epoch: number },
): void {
  for (const program of programs) {
    const section = sectionOf(program);
    for (const { file: name, text } of manualPages(program, section, edition)) {
      files.set(`/usr/share/man/man${section}/${name}.gz`, file(gzipSync(text, { level: 9 }), 0o644));
    }
  }
}

/** bash-completion and fish look for a file by the name of the command; zsh reads the names in each file. */
function addCompletions(files: Map<string, PackedFile>, programs: readonly Program[], zshFolder: string): void {
  const bash = "/usr/share/bash-completion/completions";
  const [first, ...others] = programs.map(({ name }) => name);
  files.set(`${bash}/${first}`, file(Buffer.from(bashCompletion(programs)), 0o644));
  for (const name of others) files.set(`${bash}/${name}`, { kind: "link", target: first as string });
  files.set(`${zshFolder}/${functionName(first as string)}`, file(Buffer.from(zshCompletion(programs)), 0o644));
  for (const program of programs) {
    files.set(
      `/usr/share/fish/vendor_completions.d/${program.name}.fish`,
      file(Buffer.from(fishCompletion(program)), 0o644),
    );
  }
}

/** Copyright file in Debian's format, which RPM systems take as text. */
function notice(epoch: number): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: kmend

Files: *
Copyright: ${new Date(epoch * 1000).getUTCFullYear()} the authors of kmend
License: GPL-2.0-or-later
 This program is free software; you can redistribute it and/or modify it under
 the terms of the GNU General Public License as published by the Free Software
 Foundation; either version 2 of the License, or (at your option) any later
 version.
 .
 On Debian systems, the text of the GNU General Public License version 2 is in
 /usr/share/common-licenses/GPL-2.
`;
}

interface Described {
  readonly name: string;
  readonly license?: string;
  readonly repository?: { readonly url?: string };
}

function describe(folder: string): Described {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Described;
}

function licenceIn(folder: string): string | undefined {
  return readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
}

/** The licences of all that is in the executable besides kmend. */
function thirdPartyLicences({ packages, nodeLicence }: Executable): string {
  const parts = packages.map((folder) => {
    const { name, license, repository } = describe(folder);
    const isSame = (other: Described): boolean =>
      repository?.url !== undefined && other.repository?.url === repository.url && other.license === license;
    // Some packages of a repository leave their licence to another one of it.
    const from = [folder, ...packages.filter((other) => isSame(describe(other)))].find(
      (one) => licenceIn(one) !== undefined,
    );
    if (from === undefined) throw new Error(`${folder} has no licence that could be passed on`);
    const text = readFileSync(join(from, licenceIn(from) as string), "utf8").trim();
    return `The executable contains ${name}:\n\n${text}\n`;
  });
  const node = `The executable contains Node.js:\n\n${nodeLicence.trim()}\n`;
  return [...parts, node].join("\n");
}
