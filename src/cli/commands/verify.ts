import { counted } from "../../support/counted.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { archiveOf, archiveOptions, kernelRpmOption, rpmsOf } from "../options/kernel-options.ts";

export const verifyCommand: CommandDefinition = {
  name: "verify",
  summary: "repeat the proof of a patch module",
  description:
    "Compares a patch module that kmend built with a kernel again, using the manifest in the module: every replaced function must have the bytes that were matched, and every symbol must be at the same place as before. Needs neither source nor compiler.",
  arguments: [
    {
      name: "MODULE",
      description: "the patch module (.ko), or an update (ksplice-ID.tar.gz)",
      offers: [{ files: [".ko", ".tar.gz"] }],
    },
  ],
  options: [
    { flags: "--kernel <RELEASE>", description: "kernel release (default: the one it was built for)" },
    { flags: "--image <FILE>", description: "kernel image to prove against; your own image needs no package" },
    {
      flags: "--modules <DIR>",
      description: "modules of your own kernel, as in /lib/modules/RELEASE, if the patch module changes one of them",
    },
    ...archiveOptions,
    kernelRpmOption,
    { flags: "--oot-module <FILE>", description: "the patched module (.ko), if it is not part of the kernel" },
  ],
  examples: [
    { command: "kmend verify livepatch-fix.ko", description: "verify it against the kernel that it was built for" },
  ],
  exitCodes: { [ExitCode.stalled]: "the module does not fit this kernel" },
  async run(context, operands, options) {
    const { verifyModule } = await import("../../build/verify.ts");
    const { progress, signal } = context;
    const { withModuleFiles } = await import("../../update/update-bundle.ts");
    const result = await withModuleFiles(operands, ([file]) =>
      verifyModule({
        module: file as string,
        kernel: options.text("kernel"),
        image: options.text("image"),
        archive: archiveOf(options),
        modules: options.text("modules"),
        rpms: rpmsOf(options),
        external: options.text("ootModule"),
        progress,
        signal,
      }),
    );
    if (context.json) context.printJson(result);
    else {
      const { items, kernel, builtFor } = result;
      for (const { kind, name, object, problem } of items.filter((item) => item.problem !== null)) {
        context.print(`${kind} ${name} (${object}): ${problem}`);
      }
      if (kernel.buildId !== builtFor.buildId) {
        context.print(
          `built for ${builtFor.release} (build id ${builtFor.buildId}), this is ${kernel.release} (${kernel.buildId})`,
        );
      }
      if (result.file === "altered") context.print("the module's file is not as it was built: its digest differs");
      const functions = items.filter(({ kind }) => kind === "function").length;
      const verdict = result.outcome === "proven" ? "proven" : "failed";
      context.print(
        `${verdict}: ${counted(functions, "function")} and ${counted(items.length - functions, "symbol")} held against ${kernel.release}`,
      );
    }
    return result.outcome === "proven" ? ExitCode.done : ExitCode.stalled;
  },
};
