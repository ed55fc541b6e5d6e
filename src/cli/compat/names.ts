import { basename } from "node:path";
import type { ExitCode } from "../../support/errors.ts";
import type { CommandIo } from "../run-command-line.ts";

/** Runs the command line of an older tool. @returns its exit code. */
export type CompatibleProgram = (args: readonly string[], io: CommandIo) => Promise<ExitCode>;

/** Names that kmend can be called by besides its own (links in compat/), and what then runs. */
const compatibleNames: Readonly<Record<string, () => Promise<CompatibleProgram>>> = {
  "kpatch-build": async () => (await import("./kpatch-build.ts")).runKpatchBuild,
  "ksplice-create": async () => (await import("./ksplice-create.ts")).runKspliceCreate,
  "ksplice-apply": async () => (await import("./ksplice-apply.ts")).runKspliceApply,
  "ksplice-undo": async () => (await import("./ksplice-undo.ts")).runKspliceUndo,
  "ksplice-view": async () => (await import("./ksplice-view.ts")).runKspliceView,
  kpatch: async () => (await import("./kpatch.ts")).runKpatch,
  "kpatch-package-builder": async () => (await import("./kpatch-package-builder.ts")).runPackageBuilder,
};

/** The program that a path of this process's script stands for; undefined for kmend itself. */
export async function compatibleProgram(path: string): Promise<CompatibleProgram | undefined> {
  const name = basename(path);
  return Object.hasOwn(compatibleNames, name) ? await compatibleNames[name]?.() : undefined;
}
