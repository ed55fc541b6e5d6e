import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { archiveOptions, kernelOf, kernelOptions } from "../options/kernel-options.ts";

export const doctorCommand: CommandDefinition = {
  name: "doctor",
  summary: "check that this machine has the programs that kmend needs",
  description:
    "Lists every program and package that building, trying, packaging and testing need, and how to install the missing ones.",
  arguments: [],
  options: [
    { flags: "--install", description: "install the missing programs (as root)" },
    {
      flags: "--kernel <RELEASE>",
      description: "also say where the compiler of this kernel comes from, and what a build root would be made of",
      choices: ["newest"],
    },
    ...kernelOptions.filter(({ flags }) => flags.startsWith("--series")),
    ...archiveOptions,
  ],
  examples: [
    { command: "kmend doctor", description: "list installed and missing programs" },
    { command: "sudo kmend doctor --install", description: "install the missing programs" },
    {
      command: "kmend doctor --kernel newest --series 6.12 --archive trixie.sources",
      description: "say what would be fetched to build for a kernel of another suite",
    },
  ],
  exitCodes: { [ExitCode.environment]: "something is missing" },
  async run(context, _operands, options) {
    const support = await import("../../support/requirements.ts");
    const needs = [
      "build",
      "build-root",
      "try",
      "rpm",
      "deb",
      "sign",
      "rpm-repository",
      "source-rpm",
      "dnf",
      "test",
    ] as const;
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
    const forecast = options.text("kernel") === undefined ? undefined : await foresee(context, options);
    print(context, statuses, install, forecast);
    return forecast?.from === "nowhere"
      ? ExitCode.environment
      : missing.length === 0
        ? ExitCode.done
        : ExitCode.environment;
  },
};

type Forecast = import("../../kernel/roots/kernel-compiler.ts").CompilerForecast;

/** The kernel itself is fetched: its image names its compiler. */
async function foresee({ progress, signal }: CommandContext, options: OptionValues): Promise<Forecast> {
  const { findTargetKernel } = await import("../../kernel/find.ts");
  const { foreseeCompiler } = await import("../../kernel/roots/kernel-compiler.ts");
  return foreseeCompiler(await findTargetKernel({ ...kernelOf(options), progress, signal }), signal);
}

function forecastLines(forecast: Forecast): string[] {
  const subject = `compiler of the kernel: ${forecast.compiler}`;
  if (forecast.from === "nowhere")
    return [subject, `  ${forecast.problem}`, "  --skip-gcc-check builds with another one, and the proof decides"];
  if (forecast.from === "installed") return [subject, `  installed: ${forecast.program}`];
  if (forecast.from !== "archive") return [subject, `  in a build root of the cache: ${forecast.program}`];
  const megabytes = Math.ceil(forecast.packages.reduce((sum, { size }) => sum + size, 0) / 1e6);
  return [
    subject,
    `  not installed: a build makes a root from ${forecast.archive}, of these (${megabytes} MB) and what they depend on:`,
    ...forecast.packages.map(({ name, version }) => `    ${name} ${version}`),
  ];
}

type Statuses = Awaited<ReturnType<typeof import("../../support/requirements.ts").checkRequirements>>;

function print(
  context: CommandContext,
  statuses: Statuses,
  install: string | null,
  forecast: Forecast | undefined,
): void {
  const ready = statuses.every(({ foundAt }) => foundAt !== undefined);
  if (context.json) {
    const rows = statuses.map(({ requirement: { name, needs, why, packages }, foundAt }) => {
      return { name, present: foundAt !== undefined, path: foundAt ?? null, needs, why, packages };
    });
    context.printJson({
      schema: 1,
      ready,
      requirements: rows,
      install,
      ...(forecast === undefined ? {} : { compiler: forecast }),
    });
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
  if (forecast !== undefined) for (const line of ["", ...forecastLines(forecast)]) context.print(line);
}
