import { sanitise } from "../../support/sanitise.ts";
import type { UpdateBundle } from "../../update/update-bundle.ts";
import { type AppliedUpdate, abortTexts, type UpdateChangeResult } from "../commands/updates.ts";

/** Why a change of the running kernel was given up, for a person: the paragraph, what was found, and who was in the way. */
export function changeLines({ cause, details, tasks, id }: UpdateChangeResult): string[] {
  const lines: string[] = cause === null ? [] : [abortTexts[cause], ""];
  lines.push(...details.map((line) => `  ${line}`));
  if (cause === "code_busy" && tasks.length > 0) {
    lines.push("", `These tasks are using functions that update ${id} changes:`);
    for (const { pid, tid, name, function: where, advice } of tasks) {
      lines.push(
        `  Process ${name}(pid ${pid}, task ${tid}) is in ${where ?? "a place that cannot be read"}: ${advice}`,
      );
    }
  }
  return lines;
}

/** One line for each applied update. */
export function updateLines(updates: readonly AppliedUpdate[], short: boolean): string[] {
  return updates.map(({ id, description, state }) => {
    const text = description.split("\n")[0] || "no description available";
    return short ? id : `${id}: ${sanitise(text)}${state === "applied" ? "" : ` (${state})`}`;
  });
}

/** State and source patch of one update. */
export function stateLines(wanted: string, updates: readonly AppliedUpdate[]): string[] {
  const plain = wanted.replace(/^ksplice[-_]/, "").replaceAll("-", "_");
  const found = updates.find(({ id }) => id.replaceAll("-", "_") === plain);
  if (found === undefined) return [`Ksplice id ${wanted} is not present in the kernel.`];
  const patch = found.patch ?? "";
  return [
    `Ksplice id ${found.id} is present in the kernel and is ${found.state}.`,
    "",
    ...patch.trimEnd().split("\n"),
  ].map(sanitise);
}

/** What an update holds. */
export function bundleLines({ manifest, description, patch, files }: UpdateBundle): string[] {
  const { id, kernel, functions, after, modules, module, created, tool } = manifest;
  return [
    `Update ${id}: ${description.trimEnd() || "no description available"}`,
    `for kernel ${kernel.release}, build id ${kernel.buildId}`,
    `made by ${tool}, of ${created}`,
    `module ${module.file}, sha256 ${module.sha256}`,
    ...after.map((earlier) => `on top of update ${earlier.id}`),
    ...functions.map(
      ({ name, object, unit, change, proven, reason }) =>
        `${change} function ${name} of ${object} (${unit}): ${proven ? "proven" : "not proven"}; ${reason}`,
    ),
    ...modules.map(({ target, file }) => `complete module ${target}: ${file}`),
    ...[...files.keys()].filter((name) => name.startsWith("debug/")).map((name) => `object ${name}`),
    "",
    ...patch.toString("utf8").trimEnd().split("\n"),
  ].map(sanitise);
}
