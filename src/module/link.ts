import { copyFile, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { rethrowDiskErrors } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";
import { plainEnvironment } from "../tree/kbuild.ts";
import type { PreparedTree } from "../tree/prepare.ts";
import type { ModuleTemplate } from "./template.ts";

/**
 * Links glue, tables and extracts into a module with the commands that this kernel's Kbuild recorded: partial link, modpost (versions, modinfo),
 * compile of the module information, final link.
 * @param folder a private, empty folder.
 * @returns the module before livepatch relocations are added.
 * @throws KmendError `LINK_FAILED`
 */
export async function linkModule(
  tree: PreparedTree,
  template: ModuleTemplate,
  name: string,
  objects: readonly Uint8Array[],
  folder: string,
  logFile: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
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
  const steps: [string, string][] = [
    // objtool has seen the glue and every unit; a second run over the linked object would find its own traces.
    ["link the parts", template.link.commandFor(folder, name).replace(/ ; \.\/tools\/objtool\/objtool .*$/, "")],
    ["run modpost", template.modpost.commandFor(folder, name)],
    [
      "compile the module information",
      `${template.compileModuleInfo.commandFor(folder, name).replace(/ ; \.\/tools\/objtool\/objtool .*$/, "")} -g0`,
    ],
    ["link the module", template.linkModule.commandFor(folder, name)],
  ];
  for (const [title, command] of steps) {
    const result = await run("sh", ["-c", command], {
      cwd: tree.path,
      env: plainEnvironment(),
      cleanEnv: true,
      logFile,
      allowFailure: true,
      signal,
    });
    const undefinedSymbols = [...result.all.matchAll(/"(\S+)" \[\S+\] undefined!/g)].map((match) => match[1]);
    if (result.exitCode !== 0 || undefinedSymbols.length > 0) {
      throw new KmendError({
        code: "LINK_FAILED",
        message: `the patch module cannot be linked: failed to ${title}`,
        where: undefinedSymbols.length > 0 ? undefinedSymbols.join(", ") : undefined,
        why: result.all.trimEnd().split("\n").slice(-10).join("\n"),
        hint: `the full log is ${logFile}`,
      });
    }
  }
  return readFile(join(folder, `${name}.ko`));
}
