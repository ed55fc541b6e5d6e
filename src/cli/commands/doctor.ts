import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";

export const doctorCommand: CommandDefinition = {
  name: "doctor",
  summary: "check that this machine has the programs that kmend needs",
  description:
    "Lists every program and package that building, trying, packaging and testing need, and how to install the missing ones.",
  arguments: [],
  options: [{ flags: "--install", description: "install the missing programs (as root)" }],
  examples: [
    { command: "kmend doctor", description: "list installed and missing programs" },
    { command: "sudo kmend doctor --install", description: "install the missing programs" },
  ],
  exitCodes: { [ExitCode.environment]: "something is missing" },
  async run(context, _operands, options) {
    const support = await import("../../support/requirements.ts");
    const needs = ["build", "try", "rpm", "deb", "sign", "rpm-repository", "source-rpm", "dnf", "test"] as const;
    if (options.flag("install")) {
      const { progress, signal } = context;
      await support.ensureRequirements({ needs, install: true, progress, signal });
    }
    const manager = await support.detectPackageManager();
    const all = await support.checkRequirements(needs);
    const absent = all.filter(({ foundAt }) => foundAt === undefined).map(({ requirement }) => requirement);
    const missing = await support.neededOf(absent, manager);
    // What the archive does not have and need not have is not told.
    const statuses = all.filter(({ requirement }) => !absent.includes(requirement) || missing.includes(requirement));
    const install =
      missing.length === 0 || manager === undefined
        ? null
        : support.installCommand(await support.packagesFor(missing, manager));
    print(context, statuses, install);
    return missing.length === 0 ? ExitCode.done : ExitCode.environment;
  },
};

type Statuses = Awaited<ReturnType<typeof import("../../support/requirements.ts").checkRequirements>>;

function print(context: CommandContext, statuses: Statuses, install: string | null): void {
  const ready = statuses.every(({ foundAt }) => foundAt !== undefined);
  if (context.json) {
    const rows = statuses.map(({ requirement: { name, needs, why, packages }, foundAt }) => {
      return { name, present: foundAt !== undefined, path: foundAt ?? null, needs, why, packages };
    });
    context.printJson({ schema: 1, ready, requirements: rows, install });
    return;
  }
  const width = Math.max(...statuses.map(({ requirement }) => requirement.name.length));
  for (const { requirement, foundAt } of statuses) {
    const present = foundAt !== undefined;
    const mark = present ? context.style("green", "ok     ") : context.style("red", "missing");
    const remark = present ? foundAt : `${requirement.why} (${requirement.needs.join(", ")})`;
    context.print(`${mark}  ${requirement.name.padEnd(width)}  ${remark}`);
  }
  context.print("");
  if (ready) context.print("All that building, trying, packaging and testing need is here.");
  else
    context.print(
      install === null
        ? "Install these with the package manager of this system."
        : `Install the rest with:\n  ${install}`,
    );
}
