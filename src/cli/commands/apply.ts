import { ExitCode } from "../../support/errors.ts";
import type { UpdateChangeResult } from "../../update/apply-undo.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";
import { changeExitCodes, timeoutOption } from "../options/host-options.ts";
import { usageError } from "../options/usage.ts";
import { bundleLines, changeLines, stateLines, updateLines } from "../report/update-report.ts";

/** `kmend apply`. */
export const applyCommand: CommandDefinition = {
  name: "apply",
  summary: "apply an update to the running kernel",
  description:
    "Verifies an update (ksplice-ID.tar.gz), every digest in it, and that it matches the running kernel. Then loads its patch module and waits until it is active. On failure, nothing of the update stays loaded.",
  arguments: [
    { name: "UPDATE", description: "archive, or the folder that it was unpacked to", offers: [{ files: [".tar.gz"] }] },
  ],
  options: [
    { flags: "--partial", description: "apply the update even if modules that it changes are not loaded" },
    timeoutOption,
  ],
  examples: [{ command: "kmend apply ksplice-7x2k9a0b.tar.gz", description: "apply an update" }],
  exitCodes: changeExitCodes,
  async run(context, operands, options) {
    const { applyUpdate } = await import("../../update/apply-undo.ts");
    const { progress, signal } = context;
    const timeoutSeconds = options.integer("timeout");
    const path = operands[0] as string;
    return finish(
      context,
      await applyUpdate({ path, partial: options.flag("partial"), timeoutSeconds, progress, signal }),
    );
  },
};

/** `kmend undo`. */
export const undoCommand: CommandDefinition = {
  name: "undo",
  summary: "revert an update of the running kernel",
  description: "Reverts an update and unloads its module, unless a later update was built on top of it.",
  arguments: [{ name: "ID", description: "identifier of the update", offers: [{ names: ["updates"] }] }],
  options: [timeoutOption],
  examples: [{ command: "kmend undo 7x2k9a0b", description: "revert an update" }],
  exitCodes: { ...changeExitCodes, [ExitCode.unchanged]: "it is not applied" },
  async run(context, operands, options) {
    const { undoUpdate } = await import("../../update/apply-undo.ts");
    const { progress, signal } = context;
    const timeoutSeconds = options.integer("timeout");
    return finish(context, await undoUpdate(operands[0] as string, { timeoutSeconds, progress, signal }));
  },
};

/** `kmend view`. */
export const viewCommand: CommandDefinition = {
  name: "view",
  summary: "list the applied updates, or show one",
  description: "Lists the applied updates, shows the state and the patch of one, or shows the contents of an archive.",
  arguments: [],
  options: [
    { flags: "--id <ID>", description: "show the state and the source patch of this update" },
    { flags: "--file <UPDATE>", description: "show the contents of this update: functions, proof, source patch" },
  ],
  examples: [{ command: "kmend view --file ksplice-7x2k9a0b.tar.gz", description: "show the contents of an update" }],
  exitCodes: {},
  async run(context, _, options) {
    const file = options.text("file");
    const id = options.text("id");
    if (id !== undefined && file !== undefined) {
      throw usageError("kmend view", "--id and --file exclude each other");
    }
    const show = (value: object, lines: readonly string[]): void => {
      if (context.json) context.printJson(value);
      else for (const line of lines) context.print(line);
    };
    if (file !== undefined) {
      const { readUpdate } = await import("../../update/update-bundle.ts");
      const bundle = await readUpdate(file);
      show({ schema: 1, manifest: bundle.manifest, patch: bundle.patch.toString("utf8") }, bundleLines(bundle));
      return ExitCode.done;
    }
    const { appliedUpdates } = await import("../../update/apply-undo.ts");
    const updates = await appliedUpdates();
    show({ schema: 1, updates }, id === undefined ? updateLines(updates, false) : stateLines(id, updates));
    return ExitCode.done;
  },
};

function finish(context: CommandContext, result: UpdateChangeResult): ExitCode {
  const { outcome, id, cause } = result;
  if (context.json) context.printJson(result);
  else if (outcome === "aborted") {
    context.printProblem({
      kind: "error",
      code: (cause ?? "unexpected").toUpperCase(),
      message: `update ${id}: nothing was changed`,
      why: changeLines(result).join("\n"),
    });
  } else {
    for (const note of result.notes) context.progress.note(note);
    context.print(`update ${id}: ${outcome === "already" ? "applied already" : outcome}`);
  }
  if (outcome === "absent") return ExitCode.unchanged;
  if (outcome !== "aborted") return ExitCode.done;
  if (cause === "code_busy") return ExitCode.stalled;
  if (cause === "forbidden") return ExitCode.policy;
  if (cause === "not_ready" || cause === "target_not_loaded") return ExitCode.environment;
  return cause === "unexpected" || cause === "call_failed" ? ExitCode.failure : ExitCode.refused;
}
