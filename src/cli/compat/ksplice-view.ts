import { usageError } from "../options/usage.ts";
import { bundleLines, stateLines, updateLines } from "../report/update-report.ts";
import { KspliceExit, type KspliceProgram, kspliceProgram } from "./ksplice-program.ts";

/** The interface of ksplice-view 0.9.9. */
export const kspliceView: KspliceProgram = {
  name: "ksplice-view",
  description: "Lists the applied updates, or shows one.",
  argument: undefined,
  options: [
    { flags: "--id <ID>", description: "state and source patch of an update" },
    { flags: "--file <TARBALL|DIR>", description: "what is in an update: functions, proof, source patch" },
  ],
  async run({ options, verbosity, print }) {
    const id = options.text("id");
    const file = options.text("file");
    if (id !== undefined && file !== undefined) throw usageError("ksplice-view", "--id and --file exclude each other");
    if (file !== undefined) {
      const { readUpdate } = await import("../../update/update-bundle.ts");
      for (const line of bundleLines(await readUpdate(file))) print(line);
      return KspliceExit.done;
    }
    const { appliedUpdates } = await import("../../update/apply-undo.ts");
    const updates = await appliedUpdates();
    const lines = id === undefined ? updateLines(updates, verbosity < 0) : stateLines(id, updates);
    for (const line of lines) print(line);
    return KspliceExit.done;
  },
};

/** Runs it. */
export const runKspliceView = kspliceProgram(kspliceView);
