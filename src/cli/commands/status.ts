import { setTimeout as delay } from "node:timers/promises";
import { ExitCode, type KmendError } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { cveDataOption, openRunningCves } from "../options/cve-options.ts";
import { usageError } from "../options/usage.ts";
import { statusLines } from "../report/status-report.ts";
import { ownEscape } from "../terminal/terminal.ts";

/** Milliseconds between two pictures of `--watch`. */
const watchPause = 1000;

export const statusCommand: CommandDefinition = {
  name: "status",
  summary: "show the state of live patching on this system",
  description:
    "Shows the active patches function by function, the progress of a transition, and the tasks that block it, with the place of each task and what would help.",
  arguments: [],
  options: [
    { flags: "--watch", description: "repeat every second until interrupted" },
    {
      flags: "--prometheus <FILE>",
      description: "write metrics for the textfile collector instead (- is standard output)",
    },
    { flags: "--cves", description: "with --prometheus: also count the vulnerabilities of the running kernel" },
    cveDataOption,
  ],
  examples: [
    { command: "kmend status --watch", description: "follow a transition" },
    {
      command: "kmend status --prometheus /var/lib/prometheus/node-exporter/kmend.prom",
      description: "write metrics, for example from a timer",
    },
  ],
  exitCodes: {},
  async run(context, _operands, options) {
    const { readHostStatus } = await import("../../host/status/status.ts");
    const target = options.text("prometheus");
    if (target === undefined && options.flag("cves")) throw usageError("kmend status", "--cves needs --prometheus");
    const watch = options.flag("watch");
    if ([context.json, watch, target !== undefined].filter(Boolean).length > 1) throw exclusive();
    if (target !== undefined) {
      const { prometheusText } = await import("../../host/status/prometheus.ts");
      const text =
        prometheusText(await readHostStatus()) + (options.flag("cves") ? await cveText(context, options) : "");
      if (target === "-") context.print(text.trimEnd());
      else {
        const { writeOutputFile } = await import("../../support/output-folder.ts");
        await writeOutputFile(target, text);
      }
      return ExitCode.done;
    }
    if (watch) return follow(context);
    const status = await readHostStatus();
    if (context.json) context.printJson(status);
    else for (const line of statusLines(status, context.style)) context.print(line);
    return ExitCode.done;
  },
};

async function cveText(context: CommandContext, options: OptionValues): Promise<string> {
  const { cveMetrics } = await import("../../cve/running-kernel.ts");
  return cveMetrics((await openRunningCves(context, options)).cves);
}

async function follow(context: CommandContext): Promise<ExitCode> {
  const { readHostStatus } = await import("../../host/status/status.ts");
  // On a terminal each picture takes the place of the one before.
  const clear = process.stdout.isTTY === true ? `${ownEscape}[H${ownEscape}[2J` : "";
  while (!context.signal.aborted) {
    context.print(`${clear}${statusLines(await readHostStatus(), context.style).join("\n")}`);
    await delay(watchPause, undefined, { signal: context.signal }).catch(() => {});
  }
  return ExitCode.done;
}

function exclusive(): KmendError {
  return usageError("kmend status", "--json, --watch and --prometheus exclude each other");
}
