import { release } from "node:os";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { CommandContext, OptionValues } from "../command.ts";
import { openRecords } from "../options/cve-options.ts";
import { namedKernel } from "../options/kernel-options.ts";
import { formatTable } from "../terminal/table.ts";

/** Lists what closes a subsystem, a module, or what a vulnerability is in. */
export async function suggestStops(context: CommandContext, subject: string, options: OptionValues): Promise<ExitCode> {
  const { progress, signal } = context;
  const { stopKernelOf } = await import("../../stop/stop.ts");
  const { suggest } = await import("../../stop/suggest/suggest.ts");
  const files = /^CVE-/.test(subject) ? await filesOf(context, subject, options) : [];
  const kernel = await stopKernelOf({
    ...namedKernel(options).choice,
    running: { root: "/", release: release() },
    ...{ progress, signal },
  });
  const result = await suggest(kernel, subject, files, signal);
  if (context.json) context.printJson(result);
  else {
    context.print(context.style("bold", `${subject} in ${result.kernel}: ${result.found.join(", ")}`));
    const rows = result.suggestions.map(({ function: name, through, returns, breaks, problem }) => [
      name,
      through,
      returns === null ? "cannot be stopped as it is" : `returns ${returns}`,
      problem ?? breaks,
    ]);
    for (const line of formatTable(rows)) context.print(line);
  }
  return ExitCode.done;
}

/** Source files that the fix of a vulnerability changes. @throws KmendError `CVE_UNKNOWN` (exit 2) */
async function filesOf(context: CommandContext, id: string, options: OptionValues): Promise<readonly string[]> {
  const data = await openRecords(context, options);
  const record = data.records.get(id);
  if (record !== undefined && record.files.length > 0) return record.files;
  throw new KmendError({
    code: "CVE_UNKNOWN",
    message: `which files ${id} is about is not known`,
    why: record === undefined ? "the records do not have it" : "its record names no files",
    hint: "kmend cves --update fetches the newest records; or name the module or subsystem",
    exitCode: ExitCode.usage,
  });
}
