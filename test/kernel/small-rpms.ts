import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** RPMs of one spec. */
export interface SmallRpms {
  readonly source: string;
  /** Binary packages by the end of their name; that of the main package is empty. */
  readonly packages: Readonly<Record<string, string>>;
}

/** What is in the packages of {@link smallRpms}. */
export interface SmallSpec {
  readonly name?: string;
  readonly version?: string;
  readonly release?: string;
  readonly dist?: string;
  /** Shell script. */
  readonly prep?: string;
  /** Sources besides the spec, by name. */
  readonly sources?: Readonly<Record<string, string>>;
  /** Files by path, for each package by the end of its name. */
  readonly packages?: Readonly<Record<string, Readonly<Record<string, string | Uint8Array>>>>;
}

/** A %prep that makes the few files by which a kernel source is known. */
export function prepOfTree(version: string, path = "linux"): string {
  const [major, minor, sub] = version.split(".");
  return [
    `mkdir -p ${path}/scripts ${path}/kernel`,
    `touch ${path}/Kbuild`,
    `printf 'VERSION = ${major}\\nPATCHLEVEL = ${minor}\\nSUBLEVEL = ${sub}\\n' > ${path}/Makefile`,
  ].join("\n");
}

/** Makes a source RPM and binary packages in a new folder below `folder`. */
export function smallRpms(folder: string, wanted: SmallSpec = {}): SmallRpms {
  const { name = "kernel", version = "6.1.0", release = "9%{?dist}", dist = ".fc40" } = wanted;
  const { prep = prepOfTree("6.1.0"), sources = {}, packages = {} } = wanted;
  const top = mkdtempSync(join(folder, "rpms-"));
  const content = join(top, "content");
  const at = join(top, "SOURCES");
  mkdirSync(at);
  for (const [file, text] of Object.entries(sources)) writeFileSync(join(at, file), text);
  const sections = Object.entries(packages).map(([part, files]) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(content, path)), { recursive: true });
      writeFileSync(join(content, path), text);
    }
    const heading = `%package ${part}\nSummary: ${part}\n%description ${part}\n${part}\n`;
    return `${part === "" ? "" : heading}%files ${part}\n${Object.keys(files).join("\n")}\n`;
  });
  mkdirSync(content, { recursive: true });
  const spec = join(at, `${name}.spec`);
  writeFileSync(
    spec,
    `Name: ${name}\nVersion: ${version}\nRelease: ${release}\nSummary: x\nLicense: x\nAutoReqProv: no
${Object.keys(sources)
  .map((file, index) => `Source${index}: ${file}`)
  .join("\n")}
BuildRequires: what-no-machine-has
%define __os_install_post %{nil}
%description\nx
%prep\n${prep}
%install\nmkdir -p %{buildroot}\ncp -a ${content}/. %{buildroot}/
${sections.join("")}`,
  );
  const macros = {
    _topdir: top,
    dist,
    _buildshell: "/bin/bash",
    _binary_payload: "w1.gzdio",
    _source_payload: "w1.gzdio",
  };
  const defines = Object.entries(macros).flatMap(([macro, value]) => ["--define", `${macro} ${value}`]);
  // rpm 4.20 and later make this folder in %prep alone.
  mkdirSync(join(top, "BUILD", `${name}-${version}-build`), { recursive: true });
  for (const words of [["-bs"], ...(sections.length > 0 ? [["-bb", "--noprep"]] : [])]) {
    const given = [...words, "--nodeps", "--target", "x86_64", ...defines, spec];
    execFileSync("rpmbuild", given, { stdio: "pipe" });
  }
  const built = sections.length === 0 ? [] : readdirSync(join(top, "RPMS/x86_64"));
  const parts = Object.keys(packages).map((part) => {
    const stem = `${name}${part === "" ? "" : `-${part}`}-${version}-`;
    return [part, join(top, "RPMS/x86_64", built.find((file) => file.startsWith(stem)) ?? "")];
  });
  return {
    source: join(top, "SRPMS", readdirSync(join(top, "SRPMS"))[0] as string),
    packages: Object.fromEntries(parts),
  };
}
