import { basename } from "node:path";
import { findProgram } from "../../src/support/find-program.ts";
import { run } from "../../src/support/run.ts";

/** Files of the guest for programs of this machine: the programs, their libraries and the loader. */
export interface GuestPrograms {
  /** Path in the guest to path here. */
  readonly files: ReadonlyMap<string, string>;
  readonly missing: readonly string[];
}

/** Where the guest has them. */
const folder = "kmend/programs";

/** Finds programs and what they are linked with. */
export async function guestPrograms(names: readonly string[]): Promise<GuestPrograms> {
  const files = new Map<string, string>();
  const missing: string[] = [];
  for (const name of names) {
    const path = await findProgram(name);
    if (path === undefined) {
      missing.push(name);
      continue;
    }
    files.set(`${folder}/${name}`, path);
    const { stdout } = await run("ldd", [path], { allowFailure: true });
    for (const [, library] of stdout.matchAll(/=> (\/\S+)/g))
      files.set(`${folder}/${basename(library as string)}`, library as string);
    // The loader is where the program says.
    const loader = /^\s*(\/\S+)/m.exec(stdout)?.[1];
    if (loader !== undefined) files.set(loader.slice(1), loader);
  }
  return { files, missing };
}
