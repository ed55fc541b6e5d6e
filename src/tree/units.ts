import { readdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { makeOnce } from "../support/cache.ts";
import { mapConcurrently, run } from "../support/run.ts";
import { type KbuildEnvironment, plainEnvironment } from "./kbuild.ts";

/** What Kbuild makes of the objects of one folder: by the object's path in the tree, the path by which Kbuild knows it. */
export interface FolderObjects {
  /** Objects for the kernel image, members of composite objects included. */
  readonly builtin: ReadonlyMap<string, string>;
  /** Objects for modules, members of composite objects included. */
  readonly module: ReadonlyMap<string, string>;
  /** Folders that Kbuild goes down into. */
  readonly folders: ReadonlyMap<string, string>;
}

/** A makefile that prints Kbuild's own lists after it has read the Makefile of a folder (scripts/Makefile.lib, Linux 5.4 to 6.18). */
const listReporter = `kmend-lists:
	@echo builtin: $(real-obj-y) $(lib-y)
	@echo module: $(real-obj-m)
	@echo folders: $(subdir-ym)
`;

/**
 * Asks Kbuild which objects of a folder this configuration builds.
 * @param at the prepared tree or a shadow of it.
 * @param scratch a folder for a small makefile.
 */
export async function folderObjects(
  environment: KbuildEnvironment,
  at: string,
  folder: string,
  scratch: string,
): Promise<FolderObjects | undefined> {
  const reporter = await makeOnce(join(scratch, "kmend-lists.mk"), (temporary) => writeFile(temporary, listReporter));
  const result = await run(
    "make",
    ["-rR", "--no-print-directory", "-f", "./scripts/Makefile.build", `obj=${folder}`, "need-builtin=1", "kmend-lists"],
    {
      cwd: at,
      env: { ...plainEnvironment(), ...environment.variables, MAKEFILES: reporter },
      cleanEnv: true,
      allowFailure: true,
    },
  );
  if (result.exitCode < 0) throw new Error(`make could not be run for ${folder}: ${result.all}`);
  // Makefiles of other architectures may need what this one does not set; nothing of theirs is built.
  if (result.exitCode !== 0) return undefined;
  const list = (name: string): Map<string, string> => {
    const line = result.stdout.split("\n").find((text) => text.startsWith(`${name}:`)) ?? "";
    const paths = line
      .slice(name.length + 1)
      .split(/\s+/)
      .filter(Boolean);
    return new Map(paths.map((path) => [normalise(path), path.replace(/^\.\//, "")]));
  };
  return { builtin: list("builtin"), module: list("module"), folders: list("folders") };
}

function normalise(path: string): string {
  return join(path)
    .replace(/\/(built-in\.a|modules\.order)$/, "")
    .replace(/\/$/, "");
}

/** Whether and how this configuration builds a source file. */
export type Membership =
  | { readonly kind: "builtin" | "module" /** Object as Kbuild names it; may hold `..`. */; readonly object: string }
  | { readonly kind: "not-built" };

const notBuilt: Membership = { kind: "not-built" };

/** How many folders beside the way to the top are asked for an object that its own folder's Makefile does not list. */
const siblingLimit = 60;

/**
 * Tells for many source files whether Kbuild builds them: listed by a Makefile, and that Makefile's folder reached from the top.
 * Most objects are listed in their own folder; some above it (`lib/zstd/common`), some beside (`drivers/gpu/drm/amd/display` by `amdgpu`).
 * @returns by source path.
 */
export async function membershipOf(
  environment: KbuildEnvironment,
  at: string,
  sources: readonly string[],
  scratch: string,
): Promise<Map<string, Membership>> {
  const query = new MembershipQuery(environment, at, scratch);
  const members = await mapConcurrently(sources, 2 * availableParallelism(), (source) => query.of(source));
  return new Map(sources.map((source, index) => [source, members[index] as Membership]));
}

class MembershipQuery {
  readonly #environment: KbuildEnvironment;
  readonly #at: string;
  readonly #scratch: string;
  readonly #asked = new Map<string, Promise<FolderObjects | undefined>>();

  constructor(environment: KbuildEnvironment, at: string, scratch: string) {
    this.#environment = environment;
    this.#at = at;
    this.#scratch = scratch;
  }

  async of(source: string): Promise<Membership> {
    const object = source.replace(/\.[cS]$/, ".o");
    const folders = foldersAbove(dirname(source));
    return (
      (await this.#listedIn(folders, object)) ?? (await this.#listedIn(await this.#beside(folders), object)) ?? notBuilt
    );
  }

  async #listedIn(folders: readonly string[], object: string): Promise<Membership | undefined> {
    for (const folder of folders) {
      const lists = await this.#ask(folder);
      const builtin = lists?.builtin.get(object);
      const module = lists?.module.get(object);
      if ((builtin ?? module) === undefined || !(await this.#isReached(folder))) continue;
      return builtin === undefined
        ? { kind: "module", object: module as string }
        : { kind: "builtin", object: builtin };
    }
    return undefined;
  }

  /** Folders beside the way to the top whose Makefile reaches out of its folder. */
  async #beside(ways: readonly string[]): Promise<string[]> {
    const beside: string[] = [];
    for (const above of ways.slice(1, -1)) {
      const entries = await readdir(join(this.#at, above), { withFileTypes: true });
      for (const { name } of entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink())) {
        const folder = join(above, name);
        if (ways.includes(folder)) continue;
        const text = await readFile(join(this.#at, folder, "Makefile"), "utf8").catch(() => "");
        if (/\/\.\.|\.\.\//.test(text)) beside.push(folder);
      }
    }
    return beside.slice(0, siblingLimit);
  }

  #ask(folder: string): Promise<FolderObjects | undefined> {
    let answer = this.#asked.get(folder);
    if (answer === undefined) {
      answer = folderObjects(this.#environment, this.#at, folder, this.#scratch);
      this.#asked.set(folder, answer);
    }
    return answer;
  }

  /** True when Kbuild comes to a folder; a Makefile may reach over several levels, as in `obj-y += kernel/cpu/mce/`. */
  async #isReached(folder: string): Promise<boolean> {
    if (folder === ".") return true;
    for (let above = dirname(folder); ; above = dirname(above)) {
      if ((await this.#ask(above))?.folders.has(folder) === true) return this.#isReached(above);
      if (above === ".") return false;
    }
  }
}

/** A folder and those above it, the tree itself left out. */
function foldersAbove(folder: string): string[] {
  const folders: string[] = [];
  for (let above = folder; above !== "."; above = dirname(above)) folders.push(above);
  return folders;
}
