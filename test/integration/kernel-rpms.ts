import { execFileSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { indexModules, resolveModules } from "../../src/vm/module-dependencies.ts";

/** RPMs of a kernel, with the names and the layout of Fedora's. */
export interface KernelRpms {
  readonly source: string;
  readonly core: string;
  readonly modules: string;
  readonly devel: string;
}

/** What %prep is to do besides unpacking the source. */
export interface RpmSource {
  /** Tar file of the kernel's source with one top folder. */
  readonly archive: string;
  /** Patch files, strip level 1, that %prep applies. */
  readonly patches: readonly string[];
  /** Modules that the packages hold, with those that they need. */
  readonly modules: readonly string[];
}

/** Version and release of an RPM from those of a deb, for example `6.1.9-2`. */
function versionOf(kernel: TargetKernel): { version: string; release: string } {
  const [version, release] = kernel.packageVersion.split("-") as [string, string];
  return { version, release };
}

/** The sections of a spec that say how the source is made: as in Fedora's, the release and the machine end up in the Makefile. */
function prepSection(archive: string, patches: readonly string[]): string {
  return `
%prep
%setup -q -c -T -n kernel-%{version}%{?dist}
mkdir linux-%{version}-%{release}.%{_target_cpu}
cd linux-%{version}-%{release}.%{_target_cpu}
XZ_DEFAULTS=-T0 tar -xf %{_sourcedir}/${basename(archive)} --strip-components=1
[[ -e Makefile ]]
${patches.map((path) => `patch -p1 -F0 -s < %{_sourcedir}/${basename(path)}`).join("\n")}
sed -i 's/^EXTRAVERSION =.*/EXTRAVERSION = -%{release}.%{_target_cpu}/' Makefile
`;
}

/** Makes a source RPM, and the packages of a stock kernel as if they had been built from it. */
export async function makeKernelRpms(folder: string, kernel: TargetKernel, source: RpmSource): Promise<KernelRpms> {
  const sources = join(folder, "SOURCES");
  mkdirSync(sources, { recursive: true });
  link(source.archive, join(sources, basename(source.archive)));
  for (const path of source.patches) copyFileSync(path, join(sources, basename(path)));
  const { version, release } = versionOf(kernel);
  const at = `/lib/modules/${kernel.release}`;
  const headers = `/usr/src/kernels/${kernel.release}`;
  const shipped = await ShippedModules.open(kernel.modulesDir);
  const modulePaths: string[] = [];
  const copies = [
    [kernel.imagePath, `${at}/vmlinuz`],
    [kernel.configPath, `${at}/config`],
    ...["modules.order", "modules.builtin"].map((name) => [join(kernel.modulesDir as string, name), `${at}/${name}`]),
    [kernel.configPath, `${headers}/.config`],
    [kernel.symversPath, `${headers}/Module.symvers`],
  ];
  const index = await indexModules(kernel.modulesDir);
  for (const file of await resolveModules(index, source.modules, folder)) {
    const path = `${at}/kernel/${shipped.find(basename(file, ".ko"))?.modfile}.ko`;
    copies.push([file, path]);
    modulePaths.push(path);
  }
  const tag = release.replace(/^[^.~+]*/, "") || ".kd1";
  const base = release.slice(0, release.length - (release.endsWith(tag) ? tag.length : 0));
  const spec = join(sources, "kernel.spec");
  writeFileSync(
    spec,
    `Name: kernel
Version: ${version}
Release: ${base}%{?dist}
Summary: The kernel
License: GPL-2.0-only
Source0: ${basename(source.archive)}
${source.patches.map((path, index) => `Patch${index + 1}: ${basename(path)}`).join("\n")}
BuildRequires: a-program-that-no-machine-has
ExclusiveArch: x86_64
%define debug_package %{nil}
%define __os_install_post %{nil}
AutoReqProv: no
%description
A stock kernel in the packages of another distribution.
${["core", "modules", "devel"].map((name) => `%package ${name}\nSummary: ${name}\n%description ${name}\n${name}\n`).join("")}
${prepSection(source.archive, source.patches)}
%install
rm -rf %{buildroot}
${copies.map(([from, to]) => `install -D -m 644 '${from}' '%{buildroot}${to}'`).join("\n")}
xz -T0 -0 ${modulePaths.map((path) => `'%{buildroot}${path}'`).join(" ")}
%files core
${at}/vmlinuz
${at}/config
${at}/modules.order
${at}/modules.builtin
%files modules
${at}/kernel
%files devel
${headers}
`,
  );
  rpmbuild("-bs", ["--nodeps"], spec, folder, tag);
  mkdirSync(join(folder, "BUILD", `kernel-${version}${tag}`), { recursive: true });
  rpmbuild("-bb", ["--nodeps", "--noprep"], spec, folder, tag);
  const packages = join(folder, "RPMS/x86_64");
  const named = (part: string): string =>
    join(packages, readdirSync(packages).find((name) => name.startsWith(`kernel-${part}-`)) as string);
  const [file] = readdirSync(join(folder, "SRPMS"));
  return {
    source: join(folder, "SRPMS", file as string),
    core: named("core"),
    modules: named("modules"),
    devel: named("devel"),
  };
}

function rpmbuild(kind: string, words: readonly string[], spec: string, folder: string, dist: string): void {
  const macros = {
    _topdir: folder,
    _specdir: join(folder, "SOURCES"),
    dist,
    _buildshell: "/bin/bash",
    // The source is compressed already, and of the packages nobody minds the size.
    _source_payload: "w1.gzdio",
    _binary_payload: "w1.gzdio",
  };
  const defines = Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  execFileSync("rpmbuild", [kind, ...words, "--target", "x86_64", ...defines, spec], { stdio: "pipe" });
}

function link(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

/** Makes a dnf repository of packages, and a dnf.conf that knows nothing else. */
export function dnfRepository(folder: string, packages: readonly string[]): string {
  const repository = join(folder, "repository");
  mkdirSync(repository, { recursive: true });
  for (const path of packages) link(path, join(repository, basename(path)));
  execFileSync("createrepo_c", ["-q", repository], { stdio: "pipe" });
  const settings = [
    "[main]",
    "reposdir=/nonexistent",
    "plugins=1",
    `cachedir=${folder}/cache`,
    `persistdir=${folder}/state`,
    `logdir=${folder}`,
  ];
  const served = ["[kernels]", "name=kernels", `baseurl=file://${repository}`, "gpgcheck=0"];
  const configuration = join(folder, "dnf.conf");
  writeFileSync(configuration, `${[...settings, ...served].join("\n")}\n`);
  return configuration;
}
