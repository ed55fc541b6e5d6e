import { copyFile, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { plainEnvironment } from "../../kernel/tree/kbuild.ts";
import type { PreparedTree } from "../../kernel/tree/prepare.ts";
import { rethrowDiskErrors } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { run } from "../../support/run.ts";
import type { ModuleTemplate } from "./kbuild-template.ts";
import { moduleInfoObject } from "./module-sections.ts";

/** What is linked, and how. */
export interface LinkRequest {
  readonly tree: PreparedTree;
  readonly template: ModuleTemplate;
  /** Module name. */
  readonly name: string;
  /** Extracts and tables. */
  readonly objects: readonly Uint8Array[];
  readonly symvers: ExportedSymbols;
  /** A private, empty folder. */
  readonly folder: string;
  readonly logFile: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Links glue, tables and extracts into a module with the commands that this kernel's Kbuild recorded: partial link, module information, final link.
 * The information (versions, modinfo, `struct module`) is that of the template where that says all; else modpost writes it and it is compiled.
 * @returns the module before livepatch relocations are added.
 * @throws KmendError `LINK_FAILED`
 */
export async function linkModule(request: LinkRequest): Promise<Uint8Array> {
  const { template, name, objects, symvers, folder } = request;
  const paths = [join(folder, "kmend-glue.o")];
  await copyFile(template.glue, paths[0] as string).catch(rethrowDiskErrors);
  for (const path of template.common) await copyFile(path, join(folder, basename(path))).catch(rethrowDiskErrors);
  for (const [index, object] of objects.entries()) {
    const path = join(folder, `kmend-part-${index}.o`);
    await writeFile(path, object).catch(rethrowDiskErrors);
    paths.push(path);
  }
  // modpost reads the recorded commands of all parts when it makes the source checksum of a module.
  for (const path of paths) await writeFile(join(folder, `.${basename(path)}.cmd`), "");
  await writeFile(join(folder, `${name}.mod`), `${paths.join("\n")}\n`);
  await writeFile(join(folder, "modules.order"), template.modulesOrder.commandFor(folder, name));
  // objtool has seen the glue and every unit; a second run over the linked object would find its own traces.
  await runStep("link the parts", withoutObjtool(template.link.commandFor(folder, name)), request);
  const linked = await readFile(join(folder, `${name}.o`));
  const info = moduleInfoObject(template.moduleInfo, linked, name.replaceAll("-", "_"), symvers);
  if (info !== undefined) await writeFile(join(folder, `${name}.mod.o`), info).catch(rethrowDiskErrors);
  else {
    await runStep("run modpost", template.modpost.commandFor(folder, name), request);
    const compile = `${withoutObjtool(template.compileModuleInfo.commandFor(folder, name))} -g0`;
    await runStep("compile the module information", compile, request);
  }
  await runStep("link the module", template.linkModule.commandFor(folder, name), request);
  return readFile(join(folder, `${name}.ko`));
}

/** The command up to objtool, whose path is absolute where make runs in the module's folder. */
function withoutObjtool(command: string): string {
  return command.replace(/ ; \S*\/tools\/objtool\/objtool .*$/, "");
}

async function runStep(title: string, command: string, request: LinkRequest): Promise<void> {
  const { tree, template, folder, logFile, signal } = request;
  const result = await run("sh", ["-c", command], {
    cwd: template.runsIn === "module" ? folder : tree.path,
    env: plainEnvironment(),
    cleanEnv: true,
    logFile,
    allowFailure: true,
    signal,
  });
  const undefinedSymbols = [...result.all.matchAll(/"(\S+)" \[\S+\] undefined!/g)].map((match) => match[1]);
  if (result.exitCode === 0 && undefinedSymbols.length === 0) return;
  throw new KmendError({
    code: "LINK_FAILED",
    message: `the patch module cannot be linked: failed to ${title}`,
    where: undefinedSymbols.length > 0 ? undefinedSymbols.join(", ") : undefined,
    why: result.all.trimEnd().split("\n").slice(-10).join("\n"),
    hint: `the full log is ${logFile}`,
  });
}
