import { join } from "node:path";
import { makeOnce, sweepTemporaries } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import type { Progress } from "../../support/progress.ts";
import { acquireSource, type TreeSource } from "../sources/fetch-source.ts";
import { waitForGuarded } from "./guard.ts";
import { runKbuild } from "./kbuild.ts";
import type { PreparedTree } from "./prepare.ts";
import { createShadow } from "./shadow.ts";
import { folderObjects } from "./units.ts";

/** An external module's source, ready to be compiled. */
export interface ExternalInputs {
  readonly name: string;
  readonly source: TreeSource & { readonly kind: "tree" };
  /** Folder in which the module that runs was built, when it is known and can be a word of a command. */
  readonly builtIn: string | undefined;
  /** Folder of the cache for this state of the source and this kernel. */
  readonly folder: string;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Puts a copy of an external module's source into a folder that else looks like the kernel's prepared tree, so that its units are compiled as those of the
 * kernel are: in shadows, by Kbuild's own command. Neither the source nor the prepared tree is written to.
 * @throws KmendError `EXTERNAL_MAKEFILE` when Kbuild does not understand its Makefile; errors of copying.
 */
export async function prepareExternal(tree: PreparedTree, inputs: ExternalInputs): Promise<PreparedTree> {
  const { name, source, builtIn, folder, progress, signal } = inputs;
  const external = `external/${name}`;
  const guard = join(folder, "copy.guard");
  // Code may hold the names of its source files (__FILE__), which begin with the folder that the module was built in.
  const prefixes = builtIn === undefined ? [] : [external, `./${external}`];
  const names = prefixes.map((here) => `-fmacro-prefix-map=${here}/=${builtIn}/`);
  const { variables } = tree.environment;
  const flags = [variables["KBUILD_CFLAGS"] ?? "", ...names].join(" ");
  const environment = { variables: { ...variables, KBUILD_CFLAGS: flags }, external };
  const path = await makeOnce(join(folder, "tree"), (temporary) =>
    progress.phase("copy-module", "Copy the module's source", async () => {
      await waitForGuarded(guard, progress, signal);
      await sweepTemporaries(folder);
      createShadow(tree.path, temporary, new Map(), [external]);
      await acquireSource(source, join(temporary, external), guard, signal);
      const asked = await runKbuild(environment, temporary, [], { dryRun: true, signal, allowFailure: true });
      signal?.throwIfAborted();
      if (asked.exitCode !== 0) throw badMakefile(source.path, asked.all);
      const lists = await folderObjects({ environment, at: temporary, scratch: folder }, external);
      if (lists.module.size + lists.folders.size > 0) return;
      throw badMakefile(
        source.path,
        "its Makefile lists nothing in obj-m, at least not for the kernel's configuration",
      );
    }),
  );
  return { ...tree, path, environment };
}

function badMakefile(where: string, output: string): KmendError {
  return new KmendError({
    code: "EXTERNAL_MAKEFILE",
    message: "Kbuild cannot build the module from this source",
    where,
    why: output.trimEnd().split("\n").slice(-10).join("\n"),
    hint: "check that make -C KERNEL_TREE M=DIR builds the module; kmend sees nothing outside DIR",
  });
}
