import type { ModuleInfo } from "../../host/kernel/patch-module-info.ts";
import { ExitCode } from "../../support/errors.ts";
import { sanitiseLine } from "../../support/sanitise.ts";
import type { CommandDefinition } from "../command.ts";
import { functionLines, idleText, timeText } from "../report/status-report.ts";
import type { Style } from "../terminal/style.ts";
import { formatTable } from "../terminal/table.ts";

export const infoCommand: CommandDefinition = {
  name: "info",
  summary: "show all that is known about a patch module",
  description:
    "Shows a patch module's manifest, what the kernel reports about it while it is loaded, and whether the loaded module is the same build as the file.",
  arguments: [
    {
      name: "MODULE",
      description: "a file (.ko), an update (ksplice-ID.tar.gz), or the name of a loaded or installed patch module",
      offers: [{ files: [".ko", ".tar.gz"] }, { names: ["installed", "loaded"] }],
    },
  ],
  options: [],
  examples: [{ command: "kmend info livepatch-fix.ko", description: "show the contents of a file" }],
  exitCodes: {},
  async run(context, operands) {
    const { readModuleInfo } = await import("../../host/kernel/patch-module-info.ts");
    const { withModuleFiles } = await import("../../update/update-bundle.ts");
    const [operand = ""] = operands;
    const info = await withModuleFiles(operands, async ([file]) => {
      const found = await readModuleInfo(file as string);
      // The file of an update's module is gone after this.
      return file === operand || found.file === null ? found : { ...found, file: { ...found.file, path: operand } };
    });
    if (context.json) context.printJson(info);
    else for (const line of infoLines(info, context.style)) context.print(line);
    return ExitCode.done;
  },
};

/** A module's facts as lines for a person. */
export function infoLines(info: ModuleInfo, style: Style): string[] {
  const { file, loaded, idle, sameBuild, manifest } = info;
  const rows: string[][] = [];
  const row = (label: string, value: string): void => void rows.push([label, value]);
  if (file !== null) {
    row("file", file.path);
    row("sha256", file.sha256);
    row("version magic", file.vermagic.trim());
    if (file.seal === "unsealed" && manifest !== null)
      row("digest", "none recorded: nothing shows whether the file is as it was built");
    row("signature", file.signed ? "there is one" : "none");
    if (file.depends.length > 0) row("needs", file.depends.join(", "));
  }
  row("state", stateText(loaded, idle));
  if (sameBuild === false) row("", "the loaded module is another build than this file");
  const problem = loaded?.problem ?? null;
  if (problem !== null) row("made by", problem);
  else if (manifest === null) row("made by", "something else than kmend: it has no manifest");
  else {
    row("made by", `kmend ${manifest.kmend}`);
    row("for kernel", `${manifest.kernel.release}, build id ${manifest.kernel.buildId || "(none)"}`);
    row(
      "kind",
      manifest.stop === undefined
        ? manifest.replace
          ? "cumulative: replaces all loaded patch modules"
          : "stacked: leaves the loaded ones active"
        : `stop: functions return at once${manifest.stop.log ? ", calls are counted and reported" : ""}`,
    );
    for (const patch of manifest.patches) row("patch", `${patch.name}, sha256 ${patch.sha256}`);
    if (manifest.stop?.reason !== undefined) row("reason", sanitiseLine(manifest.stop.reason));
    if (manifest.cves !== undefined) row(manifest.stop === undefined ? "fixes" : "for", manifest.cves.join(", "));
    const assumptions = manifest.adapted?.assumptions ?? [];
    if (manifest.adapted !== undefined) row("adapted", "its data was rewritten to be live (--adapt), which rests on:");
    for (const assumption of assumptions) row("", assumption);
    const kept = manifest.keptAddresses ?? [];
    if (kept.length > 0 && manifest.removable === true) {
      row("lifetime", "can be unloaded by its author's word (--removable), though addresses of it may be kept:");
    } else if (kept.length > 0)
      row("lifetime", "stays in memory until the next boot, since addresses of it may be kept:");
    for (const reason of kept) row("", reason);
    for (const type of manifest.allowedLayouts) row("accepted", `the change of ${type}`);
  }
  const lines = [style("bold", info.name), ...formatTable(rows)];
  if (loaded !== null) lines.push("", ...functionLines(loaded, style));
  else if (manifest !== null) {
    const functions = manifest.functions.map(({ name, object, unit }, at) => {
      const answer = manifest.stop?.answers[at];
      return [name, object, answer === undefined ? unit : `returns ${answer}`];
    });
    lines.push("", style("bold", "Functions:"), ...formatTable(functions));
  }
  return lines;
}

function stateText(loaded: ModuleInfo["loaded"], idle: ModuleInfo["idle"]): string {
  if (loaded !== null) return `${loaded.state}${loaded.since === null ? "" : ` since ${timeText(loaded.since)}`}`;
  return idle === null ? "not loaded" : `inactive: ${idleText(idle)}`;
}
