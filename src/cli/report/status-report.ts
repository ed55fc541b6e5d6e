import type { IdleModule } from "../../host/kernel/sysfs.ts";
import type {
  FunctionStatus,
  HostStatus,
  InstalledStatus,
  PatchStatus,
  TransitionStatus,
} from "../../host/status/status.ts";
import type { StopStatus } from "../../host/stop/stop-status.ts";
import { counted } from "../../support/counted.ts";
import { sanitiseLine } from "../../support/sanitise.ts";
import type { Style } from "../terminal/style.ts";
import { formatTable } from "../terminal/table.ts";
import { taskLines } from "./host-report.ts";

/** What is loaded and installed, as lines for a person. */
export function listLines(status: HostStatus, style: Style): string[] {
  const lines = [style("bold", "Loaded patch modules:"), ...loadedLines(status, style)];
  lines.push("", style("bold", "Installed patch modules:"), ...installedLines(status.installed, status.kernel));
  if (status.transition !== null) lines.push("", ...transitionLines(status.transition, style));
  return lines;
}

/** The state of the running kernel in one screen. */
export function statusLines(status: HostStatus, style: Style): string[] {
  const lines = [`${style("bold", "Kernel")} ${status.kernel}${status.livepatch ? "" : ": no live patching"}`];
  lines.push("", ...loadedLines(status, style));
  for (const patch of status.loaded) lines.push("", ...functionLines(patch, style));
  const waiting = status.installed.filter(({ release, state }) => release === status.kernel && state !== "in force");
  if (waiting.length > 0) {
    lines.push("", style("bold", "Installed for this kernel, and not active itself:"));
    lines.push(...installedLines(waiting, status.kernel));
  }
  if (status.transition !== null) lines.push("", ...transitionLines(status.transition, style));
  return lines;
}

function loadedLines({ loaded, idle }: HostStatus, style: Style): string[] {
  const rows = loaded.map((patch) => [
    patch.name,
    style(patch.state === "enabled" ? "green" : "yellow", patch.state),
    patch.since === null ? "" : `since ${timeText(patch.since)}`,
    summaryOf(patch),
  ]);
  for (const module of idle) rows.push([module.name, "inactive", "", idleText(module)]);
  return rows.length === 0 ? ["  none"] : formatTable(rows);
}

/** Why a module is in memory without its patch, and for how long. */
export function idleText({ name, references, staysInMemory }: IdleModule): string {
  if (staysInMemory === true) return "replaced or reverted, stays in memory until the next boot";
  const held = references !== null && references > 0 ? ", and in use" : "";
  return `replaced or reverted, still in memory${held} (kmend unload ${name})`;
}

function summaryOf({ functions, replace, staysInMemory, patches, cves, problem, stop }: PatchStatus): string {
  const count = (state: FunctionStatus["state"]): number => functions.filter((entry) => entry.state === state).length;
  const parts = stop === null ? [counted(functions.length, "function")] : stopParts(stop);
  if (count("covered") > 0) parts.push(`${count("covered")} covered by later modules`);
  if (count("waiting") > 0) parts.push(`${count("waiting")} waiting for their module`);
  if (replace !== null && stop === null) parts.push(replace ? "cumulative" : "stacked");
  if (staysInMemory === true) parts.push("stays in memory until the next boot");
  if (patches.length > 0) parts.push(`from ${patches.join(", ")}`);
  if (cves.length > 0) parts.push(`fixes ${cves.join(", ")}`);
  if (problem !== null) parts.push(problem);
  return parts.join("; ");
}

/** What a stop is, in the words of a list. */
function stopParts({ functions, reason, cves, by, until }: StopStatus): string[] {
  const parts = [`stop of ${functions.map(({ name }) => name).join(", ")}`];
  if (reason !== null) parts.push(`reason: ${sanitiseLine(reason)}`);
  const unnamed = cves.filter((cve) => reason?.includes(cve) !== true);
  if (unnamed.length > 0) parts.push(`for ${unnamed.join(", ")}`);
  if (by !== null) parts.push(`by ${sanitiseLine(by)}`);
  if (until !== null) parts.push(`until ${timeText(until)}`);
  const counts = functions.flatMap(({ hits }) => (hits === null ? [] : [hits]));
  if (counts.length > 0) parts.push(`called ${counts.reduce((sum, hits) => sum + hits, 0)} times`);
  return parts;
}

/** The functions of one patch with the object that each is in. */
export function functionLines(patch: PatchStatus, style: Style): string[] {
  const stopped = new Map(patch.stop?.functions.map((entry) => [`${entry.object} ${entry.name}`, entry]));
  const rows = patch.functions.map(({ name, object, sympos, state }) => {
    const entry = stopped.get(`${object} ${name}`);
    const hits = entry === undefined || entry.hits === null ? "" : `, called ${entry.hits} times`;
    return [
      sympos > 1 ? `${name} (no. ${sympos} of that name)` : name,
      object,
      entry === undefined ? state : `${state === "patched" ? "stopped" : state}, returns ${entry.returns}${hits}`,
    ];
  });
  return [style("bold", `Functions of ${patch.name}:`), ...formatTable(rows)];
}

function installedLines(installed: readonly InstalledStatus[], kernel: string): string[] {
  if (installed.length === 0) return ["  none"];
  const rows = installed.map(({ name, release, state, problem }) => [
    name,
    release === kernel ? `${release} (running)` : release,
    state === "held back"
      ? `held back: ${problem}`
      : (problem ?? (state === "covered" ? "covered by a later module" : state)),
  ]);
  const hints = installed.flatMap(({ name, hint }) => (hint === null ? [] : [`    ${name}: ${hint}`]));
  return [...formatTable(rows), ...hints];
}

function transitionLines({ name, state, since, pending, total, tasks }: TransitionStatus, style: Style): string[] {
  const begun = since === null ? "" : ` since ${timeText(since)}`;
  const progress =
    pending === null
      ? "how many tasks are left, only root can see"
      : `${pending} of ${total} tasks still have to switch`;
  return [`${style("bold", "Transition:")} ${name} is ${state}${begun}: ${progress}`, ...taskLines(tasks)];
}

/** Date and time of this machine's zone, to the second. */
export function timeText(iso: string): string {
  const date = new Date(iso);
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString();
  return local.slice(0, 19).replace("T", " ");
}
