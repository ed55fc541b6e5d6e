import { readFile } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { folderOutputs } from "../../kernel/tree/folder-outputs.ts";
import { recordedSteps } from "../../kernel/tree/recorded-reads.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { exists } from "../../support/cache.ts";
import { walk } from "../../support/find-files.ts";
import { mapConcurrently } from "../../support/run.ts";
import { type BuildContext, kbuildOf } from "../build-context.ts";

/** What a file becomes in the kernel without being a unit of it. */
export interface ImagePart {
  readonly part: string;
  readonly advice: string;
}

export const leaveOut = "leave this file out of the patch; a change of it needs a new kernel and a reboot";
const bootCode =
  "leave this file out of the patch: its code is gone once the kernel runs, and the next boot is that of the same image";

/** Parts of an image by the places of their sources. The first that fits counts. */
const partsByPlace: readonly (ImagePart & { readonly place: RegExp; readonly option?: string })[] = [
  {
    place: /^drivers\/firmware\/efi\/libstub\//,
    part: "the EFI boot stub, which ran before the kernel",
    advice: bootCode,
  },
  {
    place: /^arch\/\w+\/boot\/(?!dts\/)/,
    part: "the boot code, which unpacked the kernel and ran before it",
    advice: bootCode,
  },
  {
    place: /^arch\/\w+\/(.*\/)?purgatory\//,
    option: "CONFIG_KEXEC_FILE",
    part: "the purgatory of kexec, a program of its own that is embedded in the kernel",
    advice: leaveOut,
  },
  {
    place: /^arch\/\w+\/realmode\//,
    part: "the real-mode code, a program of its own that is embedded in the kernel and copied to low memory at boot",
    advice: leaveOut,
  },
  {
    place: /^arch\/\w+\/(.*\/)?vdso\w*\//,
    part: "the vDSO, a library that is embedded in the kernel and runs in the processes",
    advice: leaveOut,
  },
  { place: /\.rs$/, part: "the kernel's Rust code, which kmend neither compiles nor compares", advice: leaveOut },
  { place: /\.lds(\.S)?$/, part: "a linker script, by which the image was laid out", advice: leaveOut },
];

/** Files that no kernel is made of, wherever they are. */
const harmlessKinds =
  /(^|\/)(README[^/]*|COPYING|CREDITS|MAINTAINERS|\.\w[^/]*|[^/]*defconfig)$|\.(rst|md|yaml|dts|dtsi|dtso|cocci|config|svg|rb)$/;
const harmlessFolders = /^(Documentation|samples|LICENSES|usr\/include)\//;

/** Tools for developers among the scripts, and programs that make nothing of what is in an image. */
const harmlessScripts =
  /^scripts\/(kconfig|dtc|basic|gdb|coccinelle|package|tracing|clang-tools|ksymoops|unifdef\.c|checkpatch\.pl|checkstack\.pl|get_maintainer\.pl|spelling\.txt|kernel-doc|tags\.sh|coccicheck|const_structs\.checkpatch|headerdep\.pl|ver_linux|decode\w*|faddr2line|bloat-o-meter|bpf_doc\.py|get_\w+\.pl|extract-\w+|config|diffconfig|export_report\.pl|documentation-file-ref-check|sphinx-pre-install|leaking_addresses\.pl|check-uapi\.sh)/;

/** Scripts and rules by which everything is built. */
const buildRules = /^scripts\/(Makefile[^/]*|Kbuild[^/]*|Kconfig\.include|.*\/Makefile)$/;

/** Programs of the build that decide nothing of what is built. */
export const harmlessSteps = /^(scripts\/(kconfig|dtc|basic|unifdef)|tools\/build)\b/;

/** True for sources that look like ordinary units to Kbuild but are linked into something else. */
export function isOutsideOfVmlinux(path: string): boolean {
  return partsByPlace.slice(0, 2).some(({ place }) => place.test(path));
}

/** What is made in a place of something embedded, where this kernel has it. */
export async function partOfPlace(path: string, tree: string): Promise<ImagePart | "not-built" | undefined> {
  const placed = partsByPlace.find(({ place }) => place.test(path));
  if (placed === undefined) return undefined;
  return (await isConfigured(placed.option, tree)) ? placed : "not-built";
}

/**
 * Refuses changed files that are no units of this kernel, and whose change its image contains all the same.
 * @param paths files that Kbuild does not list as units, and that no unit includes.
 * @returns refusals; a file without one is really no part of this kernel.
 */
export async function refuseImageParts(paths: readonly string[], context: BuildContext): Promise<Refusal[]> {
  const parts = await mapConcurrently(paths, context.jobs, (path) => partOf(path, context));
  return parts.flatMap((found, index) => {
    const path = paths[index] as string;
    return found === undefined ? [] : [refuse("IMAGE_PART", path, path, { ...found })];
  });
}

async function partOf(path: string, context: BuildContext): Promise<ImagePart | undefined> {
  const { tree } = context;
  const arch = tree.environment.variables["SRCARCH"] ?? "x86";
  const foreign = /^arch\/(\w+)\//.exec(path)?.[1];
  if (harmlessFolders.test(path) || (foreign !== undefined && foreign !== arch) || path.startsWith("arch/x86/um/"))
    return undefined;
  if (tree.environment.external !== undefined) return undefined;
  const placed = await partOfPlace(path, tree.path);
  if (placed !== undefined) return placed === "not-built" ? undefined : placed;
  if (/^(tools|scripts)\//.test(path)) return toolPart(path, context);
  if (/\.[cS]$/.test(path)) return outputPart(path, context);
  const maker = await namedBy(path, tree.path);
  if (maker !== undefined) return { part: `what ${maker} makes of it`, advice: leaveOut };
  if (harmlessKinds.test(path) || /\.(txt|json|py|sh|pl)$/.test(path) || /(^|\/)Kconfig/.test(path)) return undefined;
  return { part: "the kernel's source in a way that kmend does not know", advice: leaveOut };
}

async function isConfigured(option: string | undefined, tree: string): Promise<boolean> {
  if (option === undefined) return true;
  return new RegExp(`^${option}=y$`, "m").test(await readFile(join(tree, ".config"), "utf8"));
}

/** Programs and scripts that the build runs. */
async function toolPart(path: string, { tree, kernelFolder, signal }: BuildContext): Promise<ImagePart | undefined> {
  if (harmlessScripts.test(path)) return undefined;
  if (buildRules.test(path)) return { part: "the rules by which everything is built", advice: leaveOut };
  const steps = await recordedSteps(tree.path, kernelFolder);
  const step = steps.find(({ target, reads }) => reads.includes(path) && !harmlessSteps.test(target));
  if (step !== undefined)
    return { part: `the program of the build ${step.target.replace(/\.o$/, "")}`, advice: leaveOut };
  if (path.startsWith("tools/") || harmlessKinds.test(path)) return undefined;
  const rules = [
    "--include=Makefile*",
    "--include=Kbuild*",
    "--include=link-vmlinux.sh",
    "--exclude-dir=Documentation",
  ];
  const folders = [
    "Makefile",
    "Kbuild",
    "scripts",
    "arch",
    "kernel",
    "lib",
    "drivers",
    "security",
    "usr",
    "certs",
    "init",
  ];
  const known = await Promise.all(folders.map((folder) => exists(join(tree.path, folder))));
  const present = folders.filter((_, index) => known[index] === true);
  if (present.length === 0) return undefined;
  const words = ["-rlwF", ...rules, "-e", basename(path), "--", ...present];
  const named = await walk("grep", words, { cwd: tree.path, fine: [0, 1], signal });
  const [maker] = named.stdout.split("\n").filter((line) => line !== "" && line !== path);
  return maker === undefined ? undefined : { part: `what ${maker} has it make`, advice: leaveOut };
}

/** A source that Kbuild makes a program of, or something else than an object of the kernel. */
async function outputPart(path: string, context: BuildContext): Promise<ImagePart | undefined> {
  const stem = path.replace(/\.[cS]$/, "");
  const { programs, targets } = await folderOutputs(kbuildOf(context), dirname(path));
  if (programs.has(stem)) return { part: `what the program ${stem} generates during the build`, advice: leaveOut };
  if (targets.has(`${stem}.o`))
    return { part: `a program of its own that ${dirname(path)}/Makefile embeds`, advice: leaveOut };
  return undefined;
}

/** The Makefile of its folder, or of one above, that speaks of a file or of its kind. */
async function namedBy(path: string, tree: string): Promise<string | undefined> {
  const suffix = extname(path);
  const word = (text: string): RegExp => new RegExp(`(^|[^\\w-])${text.replaceAll(/[.+]/g, "\\$&")}(?![\\w-])`, "m");
  const names = [word(basename(path)), ...(suffix === "" ? [] : [new RegExp(`%\\${suffix}(?![\\w-])`)])];
  for (let folder = dirname(path); folder !== "."; folder = dirname(folder)) {
    for (const name of ["Makefile", "Kbuild"]) {
      const text = await readFile(join(tree, folder, name), "utf8").catch(() => "");
      const rules = text.replace(/#.*$/gm, "");
      if (names.some((pattern) => pattern.test(rules))) return `${folder}/${name}`;
    }
  }
  return undefined;
}
