import type { ExternalRequest } from "../../build/external-module.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { OptionDefinition, OptionValues } from "../command.ts";

/** Options for a module that is not part of the kernel. */
export const externalOptions: readonly OptionDefinition[] = [
  {
    flags: "--oot-module <FILE>",
    description:
      "out-of-tree module (.ko) that the patch changes, the file that is loaded; its kernel is the default kernel",
  },
  {
    flags: "--oot-module-src <DIR>",
    description: "source of that module, which the patch applies to; it is only read",
  },
  {
    flags: "--oot-symvers <FILE>",
    description: "Module.symvers of another out-of-tree module whose exports the module uses (repeatable)",
    repeatable: true,
  },
];

/**
 * The external module that the options name.
 * @throws KmendError `USAGE` (exit 2) for one of the options without the other.
 */
export function externalOf(options: OptionValues): { readonly external?: ExternalRequest } {
  return externalFrom(options.text("ootModule"), options.text("ootModuleSrc"), options.list("ootSymvers"));
}

/**
 * The same from values.
 * @throws KmendError `USAGE` (exit 2) for one of `module` and `source` without the other.
 */
export function externalFrom(
  module: string | undefined,
  source: string | undefined,
  symvers: readonly string[],
): { readonly external?: ExternalRequest } {
  if (module !== undefined && source !== undefined) return { external: { module, source, symvers } };
  if (module === undefined && source === undefined && symvers.length === 0) return {};
  throw new KmendError({
    code: "USAGE",
    message:
      module === undefined
        ? `--oot-module FILE is missing beside --oot-${source === undefined ? "symvers" : "module-src"}`
        : "--oot-module-src DIR is missing beside --oot-module",
    why: "the source is compiled, and what comes out is proven against the file of the module that runs",
    hint: "give both --oot-module FILE and --oot-module-src DIR",
    exitCode: ExitCode.usage,
  });
}
