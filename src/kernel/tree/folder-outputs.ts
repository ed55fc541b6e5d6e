import { writeFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import { makeOnce } from "../../support/cache.ts";
import { run } from "../../support/run.ts";
import { makeEnvironment } from "./kbuild.ts";
import type { KbuildQuestion } from "./units.ts";

/** What Kbuild makes in a folder besides the objects that it links into the kernel and its modules. */
export interface FolderOutputs {
  /** Objects of programs that run during the build, or the programs themselves where they have one source: paths without suffix. */
  readonly programs: ReadonlySet<string>;
  /** Other things that a Makefile says it makes: paths relative to the tree. */
  readonly targets: ReadonlySet<string>;
}

/** Variables of scripts/Makefile.host and scripts/Makefile.build (Linux 5.4 to 6.18), as they are when the folder's Makefile has been read. */
const outputReporter = `kmend-outputs:
	@echo programs: $(host-csingle) $(host-cobjs) $(host-cxxobjs)
	@echo targets: $(targets) $(extra-y) $(always-y)
`;

/** @returns nothing for a folder that Kbuild has no Makefile for. */
export async function folderOutputs(
  { environment, at, scratch }: KbuildQuestion,
  folder: string,
): Promise<FolderOutputs> {
  const reporter = await makeOnce(join(scratch, "kmend-outputs.mk"), (path) => writeFile(path, outputReporter));
  const { stdout } = await run(
    "make",
    [
      "-rR",
      "--no-print-directory",
      "-f",
      "./scripts/Makefile.build",
      `obj=${folder}`,
      "need-builtin=1",
      "kmend-outputs",
    ],
    {
      ...{ cwd: at, env: { ...makeEnvironment(environment, at), MAKEFILES: reporter } },
      ...{ cleanEnv: true, allowFailure: true },
    },
  );
  const list = (name: string): string[] => {
    const line = stdout.split("\n").find((candidate) => candidate.startsWith(`${name}:`)) ?? "";
    return line
      .slice(name.length + 1)
      .split(/\s+/)
      .filter(Boolean);
  };
  const inFolder = (path: string): string => normalize(path.startsWith(`${folder}/`) ? path : join(folder, path));
  return {
    programs: new Set(list("programs").map((path) => inFolder(path).replace(/\.o$/, ""))),
    targets: new Set(list("targets").map(inFolder)),
  };
}
