import type { StopOutcome } from "../../stop/stop.ts";
import type { CommandContext } from "../command.ts";
import { formatTable } from "../terminal/table.ts";
import { timeText } from "./status-report.ts";

/** What `kmend stop` tells before anything is loaded. */
export interface ReportedStop extends StopOutcome {
  /** Where the module was written; null when it was loaded, or not made. */
  readonly path: string | null;
  /** When it ends by itself. */
  readonly until: string | null;
}

/** Prints what is stopped: functions with what they return, warnings and refusals on standard error. */
export function reportStop(context: CommandContext, result: ReportedStop): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  const { kernel, functions, refusals, module, path, until } = result;
  for (const { code, what, where, why, hint } of refusals)
    context.printProblem({ kind: "refused", code, message: what, where, why, hint });
  for (const { name, warnings } of functions)
    for (const warning of warnings) context.printWarning(`${name}: ${warning}`);
  if (module === null) return;
  const made = path === null ? "" : `: ${path}, ${module.bytes} bytes`;
  context.print(context.style("bold", `${module.name} for ${kernel.release}${made}`));
  const rows = functions.map(({ name, object, sympos, type, returns }) => [
    sympos > 1 ? `${name} (no. ${sympos} of that name)` : name,
    object,
    type,
    `returns ${returns}`,
  ]);
  for (const line of formatTable(rows)) context.print(line);
  if (until !== null) context.print(`ends by itself: ${timeText(until)}`);
}
