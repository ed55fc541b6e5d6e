import { timeoutOption } from "../options/host-options.ts";
import { usageError } from "../options/usage.ts";
import { changeLines } from "../report/update-report.ts";
import { debugOptions, saveDebug } from "./ksplice-debug.ts";
import { KspliceExit, type KspliceProgram, kspliceProgram } from "./ksplice-program.ts";

/** The interface of ksplice-apply 0.9.9. */
export const kspliceApply: KspliceProgram = {
  name: "ksplice-apply",
  description: "Applies an update to the running kernel.",
  argument: { name: "TARBALL|DIR", description: "update, or the folder it was unpacked to" },
  options: [
    { flags: "--partial", description: "also when target modules are not loaded" },
    ...debugOptions,
    timeoutOption,
  ],
  async run({ operand, options, reporter, io, print, warn, verbosity, raw }) {
    if (operand === undefined) throw usageError("ksplice-apply", "an update is missing");
    const { applyUpdate } = await import("../../update/apply-undo.ts");
    const { signal } = io;
    const partial = options.flag("partial");
    const timeoutSeconds = options.integer("timeout");
    const result = await applyUpdate({ path: operand, partial, timeoutSeconds, progress: reporter, signal });
    reporter.stop();
    if (result.outcome === "aborted") {
      if (raw) warn(`${result.cause}\n`);
      else
        for (const line of [`Error applying Ksplice update ${result.id}:`, ...changeLines(result)]) warn(`${line}\n`);
    } else {
      if (!raw && verbosity >= 0) for (const note of result.notes) reporter.note(note);
      print(result.outcome === "already" ? `Ksplice update ${result.id} already applied.` : "Done!");
    }
    const saved = await saveDebug(options, result);
    if (saved !== undefined && !raw) warn(`${saved}\n`);
    return result.outcome === "aborted" ? KspliceExit.failure : KspliceExit.done;
  },
};

/** Runs it. */
export const runKspliceApply = kspliceProgram(kspliceApply);
