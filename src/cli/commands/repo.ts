import type { RepositoryResult } from "../../package/repository/repository.ts";
import { counted } from "../../support/counted.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";
import { oneOf } from "./package.ts";

export const repoCommand: CommandDefinition = {
  name: "repo",
  summary: "publish packages in a dnf or apt repository",
  description:
    "Adds packages to a repository and publishes its index, so that dnf install or apt install can use it. Clients see the old index or the new one, never a mixture.",
  arguments: [
    { name: "DIR", description: "folder of the repository; created if it is missing", offers: [{ files: ["/"] }] },
    { name: "[PACKAGE...]", description: "RPMs or debs to add", offers: [{ files: [".rpm", ".deb"] }] },
  ],
  options: [
    { flags: "--type <TYPE>", description: "dnf or apt (default: by its packages)", choices: ["dnf", "apt"] },
    { flags: "--gpg-key <KEY>", description: "sign the index with this gpg key" },
    { flags: "--keep <N>", description: "keep the newest N versions of each package (default: all)", minimum: 1 },
    { flags: "--suite <NAME>", description: "suite of an apt repository (default: stable)" },
    { flags: "--no-install", description: "never install missing packages" },
  ],
  examples: [
    { command: "kmend repo /srv/live-patches *.rpm", description: "publish RPMs" },
    {
      command: "kmend repo --gpg-key KEYID --keep 3 /srv/debian *.deb",
      description: "publish debs in a signed apt repository",
    },
  ],
  exitCodes: { [ExitCode.failure]: "failure", [ExitCode.environment]: "the environment is not ready" },
  async run(context, operands, options) {
    const [folder = "", ...packages] = operands;
    const { ensureRequirements } = await import("../../support/requirements.ts");
    const { updateRepository } = await import("../../package/repository/repository.ts");
    const kind = oneOf("type", options.text("type"), ["dnf", "apt"]);
    const { progress, signal } = context;
    const rpms = kind === "dnf" || packages.some((path) => path.endsWith(".rpm"));
    const needs = [rpms ? ("rpm-repository" as const) : ("deb" as const)];
    await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
    const request = { gpgKey: options.text("gpgKey"), keep: options.integer("keep"), suite: options.text("suite") };
    report(context, await updateRepository({ folder, packages, kind, ...request, progress, signal }));
    return ExitCode.done;
  },
};

function report(context: CommandContext, result: RepositoryResult): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  const { folder, kind, packages, removed, signed } = result;
  const count = counted(packages.length, "package");
  context.print(
    context.style("bold", `${folder}: ${kind} repository of ${count}, ${signed ? "signed" : "not signed"}`),
  );
  for (const { file } of packages) context.print(`  ${file}`);
  for (const file of removed) context.print(`  ${file} removed`);
}
