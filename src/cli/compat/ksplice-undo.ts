import { timeoutOption } from "../options/host-options.ts";
import { usageError } from "../options/usage.ts";
import { changeLines } from "../report/update-report.ts";
import { debugOptions, saveDebug } from "./ksplice-debug.ts";
import { KspliceExit, type KspliceProgram, kspliceProgram } from "./ksplice-program.ts";

/** The interface of ksplice-undo 0.9.9. */
export const kspliceUndo: KspliceProgram = {
  name: "ksplice-undo",
  description: "Takes an update out of the running kernel.",
  argument: { name: "ID", description: "identifier of the update" },
  options: [...debugOptions, timeoutOption],
  async run({ operand, options, reporter, io, print, warn, raw }) {
    if (operand === undefined) throw usageError("ksplice-undo", "an identifier is missing");
    const { undoUpdate } = await import("../../update/apply-undo.ts");
    const timeoutSeconds = options.integer("timeout");
    const result = await undoUpdate(operand, { timeoutSeconds, progress: reporter, signal: io.signal });
    reporter.stop();
    if (result.outcome === "absent") {
      warn(
        raw
          ? `OTHER\nKsplice id ${result.id} is not present in the kernel\n`
          : `Ksplice id ${result.id} is not present in the kernel\n`,
      );
      return KspliceExit.usage;
    }
    const saved = await saveDebug(options, result);
    if (saved !== undefined && !raw) warn(`${saved}\n`);
    if (result.outcome !== "aborted") {
      print("Done!");
      return KspliceExit.done;
    }
    if (raw) warn(`${result.cause}\n`);
    else for (const line of [`Error undoing Ksplice update ${result.id}:`, ...changeLines(result)]) warn(`${line}\n`);
    return KspliceExit.failure;
  },
};

/** Runs it. */
export const runKspliceUndo = kspliceProgram(kspliceUndo);
