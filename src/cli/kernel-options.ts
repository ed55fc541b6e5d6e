import { ExitCode, KmendError } from "../support/errors.ts";
import type { FindOptions } from "../target/find.ts";
import type { OptionDefinition, OptionValues } from "./command.ts";

/** Options that say which kernel is meant. */
export const kernelOptions: readonly OptionDefinition[] = [
  {
    flags: "--kernel <RELEASE>",
    description: "kernel to patch: a release, or `newest` for the newest stock one (default: the running kernel)",
  },
  { flags: "--image <FILE>", description: "prove against this kernel image instead of the release's own" },
  {
    flags: "--source <DIR>",
    description: "kernel source tree of your own in place of packages, built or not; it is only read",
  },
  { flags: "--config <FILE>", description: "configuration of the kernel (default: .config of the source tree)" },
  { flags: "--symvers <FILE>", description: "Module.symvers of the kernel (default: that of the source tree)" },
];

/**
 * The kernel that the options name.
 * @throws KmendError `USAGE` (exit 2) for options that only mean something together with `--source`.
 */
export function kernelOf(options: OptionValues): Pick<FindOptions, "kernel" | "image" | "source"> {
  const path = options.text("source");
  const kernel = options.text("kernel");
  const image = options.text("image");
  const config = options.text("config");
  const symvers = options.text("symvers");
  if (path !== undefined) return { kernel, image, source: { path, config, symvers } };
  if (config === undefined && symvers === undefined) return { kernel, image };
  throw new KmendError({
    code: "USAGE",
    message: `--${config === undefined ? "symvers" : "config"} needs --source DIR`,
    why: "the packages of a stock kernel have their own",
    exitCode: ExitCode.usage,
  });
}
