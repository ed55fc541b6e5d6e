import { execFileSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { indexModules, resolveModules } from "../../src/vm/module-dependencies.ts";

/** What a deb holds: files by path, copied from others. */
interface Content {
  readonly name: string;
  readonly source: string;
  readonly files: Readonly<Record<string, string>>;
}

/**
 * Makes packages of a stock kernel with Ubuntu's names and layout, in a repository for apt.
 * @param modules that the packages hold, with those that they need: these in linux-modules, the named ones in linux-modules-extra.
 * @returns the environment in which apt and dpkg know nothing but that repository.
 */
export async function makeUbuntuArchive(
  folder: string,
  kernel: TargetKernel,
  modules: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const { release, packageVersion: version } = kernel;
  const repository = join(folder, "repository");
  const at = `lib/modules/${release}`;
  const shipped = await ShippedModules.open(kernel.modulesDir);
  const packed = join(folder, "modules");
  mkdirSync(packed, { recursive: true });
  const needed: Record<string, string> = {};
  const extra: Record<string, string> = {};
  for (const file of await resolveModules(await indexModules(kernel.modulesDir), modules, packed)) {
    const name = basename(file, ".ko");
    const zst = join(packed, `${name}.ko.zst`);
    execFileSync("zstd", ["-q", "-f", file, "-o", zst]);
    const table = modules.includes(name) ? extra : needed;
    table[`${at}/kernel/${shipped.find(name)?.modfile}.ko.zst`] = zst;
  }
  const source = (await kernel.source()).path;
  const sourceName = `linux-source-${version.split("-")[0]}`;
  const inModules = (name: string): string => join(kernel.modulesDir as string, name);
  const contents: readonly Content[] = [
    {
      name: `linux-image-${release}`,
      source: "linux-signed",
      files: { [`boot/vmlinuz-${release}`]: kernel.imagePath },
    },
    {
      name: `linux-modules-${release}`,
      source: "linux",
      files: {
        [`boot/config-${release}`]: kernel.configPath,
        [`${at}/modules.order`]: inModules("modules.order"),
        [`${at}/modules.builtin`]: inModules("modules.builtin"),
        ...needed,
      },
    },
    { name: `linux-modules-extra-${release}`, source: "linux", files: extra },
    {
      name: `linux-headers-${release}`,
      source: "linux",
      files: { [`usr/src/linux-headers-${release}/Module.symvers`]: kernel.symversPath },
    },
    { name: sourceName, source: "linux", files: { [`usr/src/${sourceName}/${sourceName}.tar.xz`]: source } },
  ];
  mkdirSync(repository);
  for (const content of contents) makeDeb(join(folder, content.name), content, version, repository);
  const meta = { name: "linux-image-generic", source: "linux-meta", files: {} };
  makeDeb(join(folder, meta.name), meta, "1", repository, `Depends: linux-image-${release}`);
  const index = execFileSync("dpkg-scanpackages", ["-m", "."], { cwd: repository, stdio: ["ignore", "pipe", "pipe"] });
  writeFileSync(join(repository, "Packages.gz"), gzipSync(index));
  return environment(folder, repository);
}

function makeDeb(root: string, content: Content, version: string, repository: string, ...fields: string[]): void {
  mkdirSync(join(root, "DEBIAN"), { recursive: true });
  for (const [path, from] of Object.entries(content.files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    link(from, join(root, path));
  }
  const { name, source } = content;
  const control = [`Package: ${name}`, `Source: ${source}`, `Version: ${version}`, "Architecture: amd64", ...fields];
  const rest = ["Maintainer: Test <test@example.org>", "Description: a kernel", ""];
  writeFileSync(join(root, "DEBIAN/control"), [...control, ...rest].join("\n"));
  const words = ["--root-owner-group", "-Znone", "-b", root, repository];
  execFileSync("dpkg-deb", words, { stdio: "pipe" });
}

function link(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

function environment(folder: string, repository: string): Readonly<Record<string, string>> {
  const sources = join(folder, "sources.list");
  writeFileSync(sources, `deb [trusted=yes] file:${repository} ./\n`);
  const dpkg = join(folder, "dpkg");
  for (const path of [join(dpkg, "info"), join(folder, "state/lists/partial"), join(folder, "cache/archives/partial")])
    mkdirSync(path, { recursive: true });
  writeFileSync(join(dpkg, "status"), "");
  const settings = {
    "Dir::State": join(folder, "state"),
    "Dir::State::status": join(dpkg, "status"),
    "Dir::Cache": join(folder, "cache"),
    "Dir::Etc::sourcelist": sources,
    "Dir::Etc::sourceparts": "/nonexistent",
    "Dir::Etc::preferencesparts": "/nonexistent",
    "APT::Architecture": "amd64",
  };
  const configuration = join(folder, "apt.conf");
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";\n`);
  writeFileSync(configuration, lines.join(""));
  return { APT_CONFIG: configuration, DPKG_ADMINDIR: dpkg };
}
