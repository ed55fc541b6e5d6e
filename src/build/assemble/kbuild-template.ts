import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { plainEnvironment } from "../../kernel/tree/kbuild.ts";
import type { PreparedTree } from "../../kernel/tree/prepare.ts";
import { makeOnce, sha256 } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import { glueSource } from "./glue.ts";
import type { ModuleInfoTemplate } from "./module-sections.ts";

/** Name of the module that the template is built as; its places in recorded commands are filled with the real one. */
const templateName = "kmend-template";

/** Without debug information, which would name the folder that the glue was compiled in and so make the module's build id another one each time. */
const kbuildFile = `obj-m := ${templateName}.o\n${templateName}-y := kmend-glue.o\nccflags-y := -g0\n`;

/** How this kernel's Kbuild makes a module: the compiled glue, and the commands after it with names to be filled in. */
export interface ModuleTemplate {
  /** Compiled glue, objtool included. */
  readonly glue: string;
  /** Objects that the final link takes besides, which are the same for every module: `.module-common.o` since 6.12. */
  readonly common: readonly string[];
  /** Content of `modules.order`: names the module by `.ko` up to 6.1 and by `.o` since. */
  readonly modulesOrder: RecordedStep;
  /** What modpost wrote for the template, compiled. */
  readonly moduleInfo: ModuleInfoTemplate;
  readonly link: RecordedStep;
  readonly modpost: RecordedStep;
  readonly compileModuleInfo: RecordedStep;
  readonly linkModule: RecordedStep;
  /** Where Kbuild runs these commands: since 6.13 in the module's folder, which they name files relative to, and before in the kernel tree. */
  readonly runsIn: "module" | "tree";
}

/** A shell command of Kbuild. */
export interface RecordedStep {
  /** The command for a module of that name in that folder. */
  readonly commandFor: (folder: string, name: string) => string;
}

/**
 * Builds the template module once per prepared tree, as an external module with the kernel's own Kbuild, and keeps its glue object and commands.
 * Building it again for each patch would cost about two seconds of make; running the recorded commands costs what they cost.
 * @param cache folder of the cache for this kernel build and compiler.
 * @throws KmendError `TEMPLATE_FAILED`
 */
export async function moduleTemplate(tree: PreparedTree, cache: string, signal?: AbortSignal): Promise<ModuleTemplate> {
  const folder = join(
    cache,
    `template-${sha256(glueSource, kbuildFile, tree.path, tree.makeArguments.join(" ")).slice(0, 12)}`,
  );
  await makeOnce(folder, async (temporary) => {
    await makeFolder(temporary);
    await writeFile(join(temporary, "kmend-glue.c"), glueSource);
    await writeFile(join(temporary, "Kbuild"), kbuildFile);
    await writeFile(homePath(temporary), temporary);
    // Symbols of the tables are not there yet: modpost warns about them instead of failing.
    const args = [
      ...tree.makeArguments,
      "-C",
      tree.path,
      `M=${temporary}`,
      "KBUILD_MODPOST_WARN=1",
      "CONFIG_DEBUG_INFO_BTF_MODULES=",
      "modules",
    ];
    const log = join(temporary, "make.log");
    const result = await run("make", args, {
      env: plainEnvironment(),
      cleanEnv: true,
      allowFailure: true,
      logFile: log,
      signal,
    });
    if (result.exitCode !== 0) {
      const kept = join(cache, "template.log");
      await writeFile(kept, result.all);
      throw new KmendError({
        code: "TEMPLATE_FAILED",
        message: "the kernel's own build system cannot build a patch module",
        where: tree.path,
        why: result.all.trimEnd().split("\n").slice(-20).join("\n"),
        hint: `the full log is ${kept}`,
      });
    }
  });
  const built = await readFile(homePath(folder), "utf8");
  const order = await readFile(join(folder, "modules.order"), "utf8");
  const step = (file: string): Promise<RecordedStep> => recordedStep(folder, file);
  return {
    glue: join(folder, `${templateName}.o`),
    common: (await readdir(folder)).filter((file) => file === ".module-common.o").map((file) => join(folder, file)),
    modulesOrder: { commandFor: (at, name) => renamed(order, built, at, name) },
    moduleInfo: {
      object: await readFile(join(folder, `${templateName}.mod.o`)),
      name: templateName.replaceAll("-", "_"),
    },
    link: await step(`.${templateName}.o.cmd`),
    modpost: await step(".Module.symvers.cmd"),
    compileModuleInfo: await step(`.${templateName}.mod.o.cmd`),
    linkModule: await step(`.${templateName}.ko.cmd`),
    runsIn: await whereCommandsRun(folder),
  };
}

/** Holds the folder that the template was built in, before it was renamed into its place in the cache. */
function homePath(folder: string): string {
  return join(folder, "home");
}

/** A record begins with the name of its target: `savedcmd_/home/…/kmend-template.o := ` is absolute where make runs in the kernel tree. */
async function whereCommandsRun(folder: string): Promise<ModuleTemplate["runsIn"]> {
  const text = await readFile(join(folder, `.${templateName}.o.cmd`), "utf8");
  return /^(?:saved)?cmd_\//.test(text) ? "tree" : "module";
}

/** A command that Kbuild recorded when it built the template in `folder`, by the name of its `.cmd` file. */
export async function recordedStep(folder: string, file: string): Promise<RecordedStep> {
  const built = await readFile(homePath(folder), "utf8");
  const text = await readFile(join(folder, file), "utf8");
  return { commandFor: (at, name) => fillIn(text, built, at, name) };
}

/** Replaces the template's folder and name in a recorded command; module names have underscores where file names have dashes. */
function fillIn(recorded: string, built: string, folder: string, name: string): string {
  const line = recorded.slice(0, recorded.indexOf("\n"));
  const command = line
    .slice(line.indexOf(":=") + 2)
    .replaceAll("$$", "$")
    .replaceAll("$(pound)", "#")
    .trim();
  return renamed(command, built, folder, name);
}

function renamed(text: string, built: string, folder: string, name: string): string {
  return text
    .replaceAll(built, folder)
    .replaceAll(templateName, name)
    .replaceAll(templateName.replaceAll("-", "_"), name.replaceAll("-", "_"));
}
