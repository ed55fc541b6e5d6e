import { sanitise } from "../../support/sanitise.ts";
import type { AbortCode, AppliedUpdate, UpdateChangeResult } from "../../update/apply-undo.ts";
import type { UpdateBundle } from "../../update/update-bundle.ts";

/** A paragraph for each cause, for a person. */
export const abortTexts: Readonly<Record<AbortCode, string>> = {
  no_match:
    "The update does not fit what is running: it was made for another kernel build, another build of it is loaded, or a function that it changes has been changed since by another update which it was not built upon. Make the update again from the source of what is running (with --series when it goes on top of another update).",
  code_busy:
    "Some tasks stayed in functions that the update changes, so the kernel could not switch them to the new code in time. The update was reverted. Try again when these tasks are less busy, or after they have been stopped.",
  target_not_loaded:
    "The update changes kernel modules that are not loaded. Load them first, or apply the update with --partial: it then takes effect for each of these modules as soon as it is loaded.",
  missing_update:
    "The update was built on top of others that are not applied, or of which another build is applied. Apply those first, the oldest first.",
  module_busy:
    "Updates that were applied later were built on top of this one, so it has to stay until they are undone. Undo the newest first.",
  already_reversed:
    "The module of the update is in memory without being active, and could not be removed: something still uses it. Undo the update again later; until then it changes nothing.",
  call_failed:
    "A function of the update's own, which runs before it takes effect, refused it and returned an error. Nothing was changed. The update's author knows what it waits for; apply the update again when that is so.",
  forbidden:
    "The kernel, or its security policy, does not allow this module to be loaded: a signature is missing, or loading modules is switched off.",
  not_ready:
    "The system is not ready for an update: another one is just being applied, a module is just being loaded or is missing, function tracing is in the way, or the kernel has no live patching.",
  unexpected: "The kernel refused for a reason that is not among the known ones; the kernel log may say more.",
};

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
