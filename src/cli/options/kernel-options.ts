import type { KernelChoice } from "../../kernel/kernel-choice.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { OptionDefinition, OptionValues } from "../command.ts";

/** Say which archive has the kernel packages. */
export const archiveOptions: readonly OptionDefinition[] = [
  {
    flags: "--distribution <NAME>",
    description: "debian or ubuntu: the distribution whose kernel packages the archive has (default: this machine's)",
  },
  {
    flags: "--archive <FILE>",
    description:
      "take kernel packages from the archives in this deb822 file (sources.list(5)), for example of another suite, instead of the archives of this machine",
  },
];

/** Names packages of a kernel. */
export const kernelRpmOption: OptionDefinition = {
  flags: "--kernel-rpm <FILE>",
  description:
    "core, modules or devel RPM of the kernel (repeatable; default: the RPMs that dnf offers for the source RPM)",
  repeatable: true,
};

/** Options that say which kernel is meant. */
export const kernelOptions: readonly OptionDefinition[] = [
  {
    flags: "--kernel <RELEASE>",
    description: "kernel to patch: a release, or `newest` for the newest stock one (default: the running kernel)",
    choices: ["newest"],
  },
  {
    flags: "--series <X.Y>",
    description:
      "with `--kernel newest`: the newest of this series, such as 6.12 (default: what the distribution installs)",
  },
  { flags: "--image <FILE>", description: "prove against this kernel image instead of the release's own" },
  {
    flags: "--source <DIR>",
    description: "use your own kernel source tree, built or not, instead of packages; it is only read",
  },
  { flags: "--config <FILE>", description: "configuration of the kernel (default: .config of the source tree)" },
  { flags: "--symvers <FILE>", description: "Module.symvers of the kernel (default: the file of the source tree)" },
  ...archiveOptions,
  {
    flags: "--sourcerpm <FILE>",
    description:
      "use this source RPM of the kernel instead of the archive's packages; %prep of its spec runs in the cache",
  },
  kernelRpmOption,
  {
    flags: "--dnf-config <FILE>",
    description: "dnf.conf with the repositories that have those packages (default: the system's)",
  },
];

/** RPMs of the kernel that the options name, or undefined. */
export function rpmsOf(options: OptionValues): KernelChoice["rpms"] {
  const sourceRpm = options.text("sourcerpm");
  const kernelRpms = options.list("kernelRpm");
  if (sourceRpm === undefined && kernelRpms.length === 0) return undefined;
  return { sourceRpm, kernelRpms, dnfConfiguration: options.text("dnfConfig") };
}

/** What taking that kernel needs of the machine. */
export function kernelNeeds(options: OptionValues): ("source-rpm" | "dnf")[] {
  const rpms = rpmsOf(options);
  if (rpms === undefined) return [];
  return rpms.kernelRpms?.length === 0 ? ["source-rpm", "dnf"] : ["source-rpm"];
}

/**
 * The kernel that the options name.
 * @throws KmendError `USAGE` (exit 2) for options that only mean something together with others, or that exclude each other.
 */
export function kernelOf(options: OptionValues): KernelChoice {
  const path = options.text("source");
  const kernel = options.text("kernel");
  const image = options.text("image");
  const config = options.text("config");
  const symvers = options.text("symvers");
  const rpms = rpmsOf(options);
  const archive = archiveOf(options);
  const series = seriesOf(options);
  if (archive !== undefined && (path ?? rpms) !== undefined) {
    throw usage(
      `--${archive.distribution === undefined ? "archive" : "distribution"} does not go with --source, --sourcerpm and --kernel-rpm`,
      "they are used in place of an archive",
    );
  }
  if (path !== undefined && rpms !== undefined) {
    throw usage("--source does not go with --sourcerpm and --kernel-rpm", "a kernel has one source");
  }
  if (options.text("dnfConfig") !== undefined && (rpms?.sourceRpm === undefined || rpms.kernelRpms?.length !== 0)) {
    throw usage("--dnf-config needs --sourcerpm without --kernel-rpm", "dnf is only asked then");
  }
  if (path !== undefined) return { kernel, image, source: { path, config, symvers } };
  if (config === undefined && symvers === undefined) {
    return {
      kernel,
      ...(series === undefined ? {} : { series }),
      image,
      ...(archive === undefined ? {} : { archive }),
      ...(rpms === undefined ? {} : { rpms }),
    };
  }
  throw usage(
    `--${config === undefined ? "symvers" : "config"} needs --source DIR`,
    "the packages of a kernel have their own",
  );
}

/** The kernel that the options name, and whether they name none: the running one is meant then. */
export function namedKernel(options: OptionValues): { readonly choice: KernelChoice; readonly isOpen: boolean } {
  const choice = kernelOf(options);
  const { kernel, image, source, rpms } = choice;
  return { choice, isOpen: [kernel, image, source, rpms].every((part) => part === undefined) };
}

/** The archive that the options name, or undefined. */
export function archiveOf(options: OptionValues): KernelChoice["archive"] {
  const distribution = options.text("distribution");
  const sources = options.text("archive");
  return distribution === undefined && sources === undefined ? undefined : { distribution, sources };
}

function seriesOf(options: OptionValues): string | undefined {
  const series = options.text("series");
  if (series === undefined) return undefined;
  if (!/^\d+\.\d+$/.test(series))
    throw usage(`${series} is no series of Linux`, "a series is named by two numbers, as 6.12");
  if (options.text("kernel") === "newest") return series;
  throw usage("--series needs --kernel newest", "it says of which series the newest kernel is");
}

function usage(message: string, why: string): KmendError {
  return new KmendError({ code: "USAGE", message, why, exitCode: ExitCode.usage });
}
