import { counted } from "../../support/counted.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { cveDataOption, minCvssOption, openRunningCves } from "../options/cve-options.ts";
import { usageError } from "../options/usage.ts";

export const checkCommand: CommandDefinition = {
  name: "check",
  summary: "exit 0 only if every installed patch is active",
  description:
    "Verifies that every patch module that is installed for the running kernel is active, and that no transition is running. Prints only problems; with -q, prints nothing.",
  arguments: [],
  options: [
    { flags: "--cves", description: "also verify that no vulnerability is open for the running kernel" },
    minCvssOption,
    cveDataOption,
  ],
  examples: [
    { command: "kmend check || echo look", description: "use it in a script or a monitoring system" },
    { command: "kmend check --cves --min-cvss 7", description: "check whether a serious vulnerability is open" },
  ],
  exitCodes: {
    [ExitCode.failure]: "an installed patch module is not active, or a vulnerability is open",
    [ExitCode.environment]: "something is installed, and the kernel has no live patching",
    [ExitCode.stalled]: "a transition is running",
  },
  async run(context, _operands, options) {
    const wantsCves = options.flag("cves");
    if (!wantsCves && (options.text("minCvss") ?? options.text("cveData")) !== undefined)
      throw usageError("kmend check", "--min-cvss and --cve-data need --cves");
    const { judgeHealth, readHostStatus } = await import("../../host/status/status.ts");
    const health = judgeHealth(await readHostStatus());
    const open = wantsCves ? await openCves(context, options) : undefined;
    const problems = [...(health.verdict === "good" ? [] : health.problems), ...(open?.problems ?? [])];
    const cves = open === undefined ? {} : { openCves: open.ids };
    if (context.json) context.printJson({ schema: 1, verdict: health.verdict, problems, ...cves });
    else for (const problem of problems) context.progress.note(problem);
    if (health.verdict === "good" && (open?.ids.length ?? 0) > 0) return ExitCode.failure;
    return exitCodes[health.verdict];
  },
};

/** How many open vulnerabilities are named. */
const shownCves = 10;

async function openCves(
  context: CommandContext,
  options: OptionValues,
): Promise<{ readonly ids: readonly string[]; readonly problems: readonly string[] }> {
  const { cves, knowsConfiguration } = await openRunningCves(context, options);
  const open = cves.filter(({ state }) => state === "open" || state === "installed" || state === "no fix");
  if (open.length === 0) return { ids: [], problems: [] };
  const worst = [...open].sort((a, b) => (b.score ?? -1) - (a.score ?? -1)).slice(0, shownCves);
  const named = worst.map(({ id, score, title }) => `${id} (${score?.toFixed(1) ?? "not rated"}): ${title}`);
  const number = `${counted(open.length, "vulnerability").replace(/ys$/, "ies")} open for the running kernel`;
  return {
    ids: open.map(({ id }) => id),
    problems: [
      ...(knowsConfiguration
        ? []
        : ["nobody has asked here which files this kernel is built from (kmend cves does): all of them count"]),
      ...named,
      number,
    ],
  };
}

const exitCodes = {
  good: ExitCode.done,
  missing: ExitCode.failure,
  unable: ExitCode.environment,
  transition: ExitCode.stalled,
} as const;
