import { dirname } from "node:path";
import { version } from "../../support/version.ts";
import { changelogLines } from "../metadata.ts";
import { withoutArchitecture } from "../package-name.ts";
import { metadataPath, type PackagedModule, type PackagePlan } from "../package-plan.ts";
import { oneLine, shellWord, specLine, specScript, specText } from "./escape.ts";
import { rpmScriptlets } from "./scriptlets.ts";

/** Name of a built module among the sources of a spec: those for several kernels have the same name otherwise. */
export function moduleSource({ release, file }: PackagedModule): string {
  return `${release}.${file}`;
}

/** Name of the description of the update among the sources. */
export function metadataSource(plan: PackagePlan): string {
  return `${plan.name}.json`;
}

/** Red Hat's convention has room for it; the listing of a kpatch-module package is the modules and nothing else. */
export function hasMetadata(plan: PackagePlan): boolean {
  return plan.profile === "kpatch-patch";
}

/**
 * A spec that makes the package. With patches and without finished modules it builds them by calling kmend, so it works on any machine that has kmend and
 * rpmbuild; with `--with prebuilt`, or when there are no patches, it takes finished modules from its sources instead.
 */
export function specFile(plan: PackagePlan): string {
  const built = plan.patches.length > 0 && plan.modules.every(({ release }) => plan.patchesOf.has(release));
  const lines = [
    `# Made by kmend ${version()}.`,
    ...preamble,
    built ? "# --with prebuilt takes the modules from the sources instead of building them.\n%bcond_with prebuilt" : "",
    "",
    ...tags(plan),
    ...sources(plan, built),
    ...relations(plan),
    "",
    "%description",
    specText(plan.description) || plan.name,
    "",
    "%prep",
    "%setup -q -c -T",
    "",
    "%build",
    ...buildSteps(plan, built),
    "",
    "%install",
    ...plan.modules.map(
      (module) => `install -D -m 0644 'built/${moduleSource(module)}' '%{buildroot}${module.payload}'`,
    ),
    ...(hasMetadata(plan)
      ? [`install -D -m 0644 '%{_sourcedir}/${metadataSource(plan)}' '%{buildroot}${metadataPath(plan)}'`]
      : []),
    "",
    ...scriptlets(plan),
    "%files",
    "%defattr(0644,root,root,0755)",
    ...plan.modules.map(({ payload }) => payload),
    ...(hasMetadata(plan) ? [metadataPath(plan), ...foldersOf(plan)] : []),
    "",
    "%changelog",
    `* ${changelogDate(plan.epoch)} ${specLine(plan.maintainer)} - ${plan.version}-${plan.release}`,
    ...changelogLines(plan).map((line) => `- ${specLine(line)}`),
    "",
  ];
  return lines.join("\n").replace(/\n{3,}/g, "\n\n");
}

/**
 * rpm's habits after %install would strip the module and with it its signature, its links by build id would add files, and time and host of the build
 * would make each package another one.
 */
export const preamble: readonly string[] = [
  "%global __os_install_post %{nil}",
  "%global __debug_install_post %{nil}",
  "%global debug_package %{nil}",
  "%global _build_id_links none",
  "%global _missing_build_ids_terminate_build 0",
  "%global _binary_payload w9.gzdio",
  "%global _source_payload w9.gzdio",
  "%global _binary_filedigest_algorithm 8",
  "%global _source_filedigest_algorithm 8",
  "%global _buildhost localhost",
  "%global use_source_date_epoch_as_buildtime 1",
  "%global source_date_epoch_from_changelog 1",
  "%global clamp_mtime_to_source_date_epoch 1",
  "%global build_mtime_policy clamp_to_source_date_epoch",
];

function tags(plan: PackagePlan): string[] {
  return [
    `Name: ${plan.name}`,
    `Version: ${plan.version}`,
    `Release: ${plan.release}`,
    `Summary: ${specLine(plan.summary) || plan.name}`,
    "Group: System Environment/Kernel",
    `License: ${specLine(plan.license)}`,
    `ExclusiveArch: ${plan.architecture.rpm}`,
    "AutoReqProv: no",
  ];
}

function sources(plan: PackagePlan, built: boolean): string[] {
  const first = plan.patches.length;
  const modules = plan.modules.map((module, index) => `Source${first + index}: ${moduleSource(module)}`);
  return [
    ...plan.patches.map(({ file }, index) => `Source${index}: ${file}`),
    ...(built ? ["%if %{with prebuilt}", ...modules, "%endif"] : modules),
    ...(hasMetadata(plan) ? [`Source${first + modules.length}: ${metadataSource(plan)}`] : []),
  ];
}

/**
 * What Red Hat's live patches provide and require. rpm refuses a version with two dashes, which uname -r of other distributions has: for them the
 * capability carries it in parentheses, and a file of the kernel stands for the kernel.
 */
function relations(plan: PackagePlan): string[] {
  const [kernel] = plan.kernels;
  if (plan.profile !== "kpatch-patch" || kernel === undefined) return [];
  const bare = withoutArchitecture(kernel, plan.architecture);
  const isVersion =
    kernel.split("-").length === 2 && kernel.split("-").every((part) => /^[A-Za-z0-9._+~]+$/.test(part));
  const provided = bare === kernel ? [kernel] : [kernel, bare];
  return [
    ...(isVersion
      ? [...provided.map((version) => `Provides: kpatch-patch = ${version}`), `Requires: kernel-uname-r = ${kernel}`]
      : [`Provides: kpatch-patch(${kernel})`, `Requires: /lib/modules/${kernel}/modules.builtin`]),
    "Recommends: kpatch",
    `Conflicts: ${plan.name} < ${plan.version}-${plan.release}`,
  ];
}

const treeAdvice =
  'the kernel is that of a source tree: rpmbuild --define "kernel_source DIR" builds with the tree in DIR';

function buildSteps(plan: PackagePlan, built: boolean): string[] {
  if (plan.modules.length === 0)
    return ["# An empty package: it makes the package manager look for live patches of this kernel."];
  const copies = plan.modules.map((module) => {
    const name = moduleSource(module);
    return `cp '%{_sourcedir}/${name}' 'built/${name}'`;
  });
  if (!built) return ["mkdir -p built", ...copies];
  // rpm puts what the macros stand for in here; without them the words vanish.
  const tree = plan.ownTree
    ? "--source '%{kernel_source}' %{?kernel_config:--config '%{kernel_config}' }%{?kernel_symvers:--symvers '%{kernel_symvers}' }%{?kernel_image:--image '%{kernel_image}' }"
    : "";
  const words = plan.buildWords.map((word) => `${specScript(shellWord(oneLine(word)))} `).join("");
  const builds = plan.modules.flatMap((module) => {
    const patches = (plan.patchesOf.get(module.release) ?? []).map(
      (index) => `'%{_sourcedir}/${plan.patches[index]?.file}'`,
    );
    const name = module.file.replace(/\.ko$/, "");
    return [
      `kmend build ${tree}${words}--kernel '${module.release}' --name '${name}' --output built ${patches.join(" ")}`,
      `mv 'built/${module.file}' 'built/${moduleSource(module)}'`,
    ];
  });
  return [
    "mkdir -p built",
    "%if %{with prebuilt}",
    ...copies,
    "%else",
    ...(plan.ownTree ? [`%{!?kernel_source:echo '${treeAdvice}' >&2; exit 1}`] : []),
    "command -v kmend >/dev/null || { echo 'kmend is needed to build this package' >&2; exit 1; }",
    ...builds,
    "%endif",
  ];
}

function scriptlets(plan: PackagePlan): string[] {
  if (plan.modules.length === 0) return [];
  const { before, after, beforeRemoval, afterRemoval } = rpmScriptlets(plan);
  const sections = { "%pre": before, "%post": after, "%preun": beforeRemoval, "%postun": afterRemoval };
  return Object.entries(sections).flatMap(([name, script]) => [name, specScript(script), ""]);
}

/** Folders that nobody else may own. */
function foldersOf(plan: PackagePlan): string[] {
  const folders = new Set<string>();
  for (const path of [...plan.modules.map(({ payload }) => payload), metadataPath(plan)]) {
    for (let folder = dirname(path); !/^\/usr\/(lib|share)$/.test(folder); folder = dirname(folder))
      folders.add(folder);
  }
  return [...folders].sort().map((folder) => `%dir ${folder}`);
}

/** Date of a changelog entry, as rpm reads it: `Wed Jun 24 2015`. */
export function changelogDate(epoch: number): string {
  const [day, date, month, year] = new Date(epoch * 1000).toUTCString().replace(",", "").split(" ");
  return `${day} ${month} ${date} ${year}`;
}
