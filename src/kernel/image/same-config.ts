import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { KernelImage } from "./kernel-image.ts";

/** Words that scripts/mkcompile_h writes into the version of a kernel (since Linux 6.2 init/Makefile), and the options that they stand for. */
const bannerWords: readonly { readonly word: string; readonly options: readonly string[] }[] = [
  { word: "SMP", options: ["CONFIG_SMP"] },
  { word: "PREEMPT_DYNAMIC", options: ["CONFIG_PREEMPT_DYNAMIC"] },
  { word: "PREEMPT_RT", options: ["CONFIG_PREEMPT_RT"] },
];

/**
 * Functions that a kernel has exactly when it is built with an option: exported, of the same name since Linux 4.6, and each in a file that nothing but
 * this option brings.
 */
const functionsByOption: readonly (readonly [option: string, name: string])[] = [
  ["CONFIG_BLOCK", "submit_bio"],
  ["CONFIG_NET", "sock_register"],
  ["CONFIG_INET", "inet_register_protosw"],
  ["CONFIG_PCI", "__pci_register_driver"],
  ["CONFIG_KPROBES", "register_kprobe"],
  ["CONFIG_CGROUPS", "cgroup_path_ns"],
  ["CONFIG_XFRM", "xfrm_lookup"],
  ["CONFIG_BPF_SYSCALL", "bpf_map_get"],
  ["CONFIG_KEYS", "key_alloc"],
];

/** How many functions have to be missing for a refusal: one alone may have another name in a kernel that nobody has looked at. */
const leastMissing = 2;

/** How many differences a message names. */
const shown = 3;

/**
 * Refuses a configuration that is visibly not the one of an image; the proof decides about the rest.
 * @throws KmendError `IMAGE_OF_OTHER_CONFIG` (exit 2)
 */
export async function requireSameConfig(configPath: string, image: KernelImage): Promise<void> {
  const config = await readFile(configPath, "utf8");
  const differences = differencesOf(config, image);
  if (differences.length === 0) return;
  const rest = differences.length - shown;
  throw new KmendError({
    code: "IMAGE_OF_OTHER_CONFIG",
    message: `the kernel ${image.banner.release} was not built with this configuration`,
    where: `${configPath}, ${image.unpacked.path}`,
    why: `${differences.slice(0, shown).join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`,
    hint: "give the configuration that the image was built with (--config FILE), or the image that was built with this one (--image FILE)",
    exitCode: ExitCode.usage,
  });
}

function differencesOf(config: string, image: KernelImage): string[] {
  const options = optionsOf(config);
  const mayCarry =
    options.get("CONFIG_IKCONFIG") === "y" || image.kallsyms().indicesOf("kernel_config_data").length > 0;
  const embedded = mayCarry ? embeddedConfig(image) : undefined;
  if (embedded !== undefined) return compareOptions(options, optionsOf(embedded));
  const words = new Set(image.banner.version.split(" "));
  const said = bannerWords.flatMap(({ word, options: any }) =>
    words.has(word) && !any.some((option) => options.get(option) === "y")
      ? [`its version says ${word}, and the configuration has no ${any.join(" or ")}`]
      : [],
  );
  const has = (name: string): boolean => image.kallsyms().indicesOf(name).length > 0;
  const more = functionsByOption.filter(([option, name]) => options.get(option) !== "y" && has(name));
  const less = functionsByOption.filter(([option, name]) => options.get(option) === "y" && !has(name));
  return [
    ...said,
    ...more.map(([option, name]) => `it has ${name}(), and the configuration has no ${option}`),
    ...(less.length < leastMissing
      ? []
      : less.map(([option, name]) => `it has no ${name}(), and the configuration has ${option}`)),
  ];
}

/** Options that are set, by name. */
function optionsOf(config: string): ReadonlyMap<string, string> {
  return new Map(
    [...config.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map((match) => [match[1] as string, match[2] as string]),
  );
}

/** What says which tools there were, and not what they were asked to do. */
const toolOptions =
  /^CONFIG_(CC_|GCC_|CLANG_|LLD_|LD_|AS_|RUSTC?_|PAHOLE_|BINDGEN_|TOOLS_|BUILD_SALT|.*_VERSION(_TEXT)?$)/;

function compareOptions(given: ReadonlyMap<string, string>, embedded: ReadonlyMap<string, string>): string[] {
  const names = [...new Set([...given.keys(), ...embedded.keys()])].filter((name) => !toolOptions.test(name)).sort();
  return names
    .filter((name) => given.get(name) !== embedded.get(name))
    .map((name) => `the kernel says ${describe(name, embedded)}, the configuration ${describe(name, given)}`);
}

function describe(name: string, options: ReadonlyMap<string, string>): string {
  const value = options.get(name);
  return value === undefined ? `that ${name} is not set` : `${name}=${value}`;
}

/** The mark, and the first bytes of what gzip writes. */
const embeddedStart = Buffer.from("IKCFG_ST\x1f\x8b", "latin1");

/** Most bytes of a configuration; those of distributions have 300 KB. */
const configLimit = 1 << 24;

/** The configuration that a kernel carries with CONFIG_IKCONFIG=y, compressed between two marks (kernel/configs.c). */
function embeddedConfig(image: KernelImage): string | undefined {
  for (const section of image.loaded.filter(({ name }) => name === ".rodata")) {
    const data = Buffer.from(image.contentOf(section));
    const start = data.indexOf(embeddedStart);
    const end = start < 0 ? -1 : data.indexOf("IKCFG_ED", start);
    if (end < 0) continue;
    try {
      return gunzipSync(data.subarray(start + 8, end), { maxOutputLength: configLimit }).toString("utf8");
    } catch {
      return undefined;
    }
  }
  return undefined;
}
