import { readdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { mapConcurrently, run } from "../../support/run.ts";
import { type KbuildEnvironment, makeEnvironment } from "./kbuild.ts";

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
 * A makefile that makes a dry run tell the same lists for each folder in which it looks at an object: all objects depend on FORCE
 * (scripts/Makefile.build), which has no recipe of its own. The lists are printed when the recipe is expanded, and a lone colon in its place.
 */
const besideReporter = `FORCE:
	@:$(info kmend-lists: $(obj))$(info builtin: $(real-obj-y) $(lib-y))$(info module: $(real-obj-m))$(info folders: $(subdir-ym))
`;
const toldBeside = /^kmend-lists: (.*)\n(builtin: .*\nmodule: .*\nfolders: .*\n)/gm;

/** Lists of folders that a dry run tells beside the commands that it is asked for. */
export class UnitLists {
  readonly #told = new Map<string, string>();
  readonly #ended: Promise<void>;
  readonly #folders: ReadonlySet<string>;
  #end: () => void = () => {};

  /** @param folders of which the dry run will tell, as far as it comes. */
  constructor(folders: readonly string[]) {
    this.#folders = new Set(folders);
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** The makefile for the dry run. @param scratch a folder for it. */
  async makefile(scratch: string): Promise<string> {
    return makeOnce(join(scratch, "kmend-beside.mk"), (temporary) => writeFile(temporary, besideReporter));
  }

  /** Takes the lists out of what the dry run printed. */
  take(output: string): string {
    for (const [, folder = "", text = ""] of output.matchAll(toldBeside)) this.#told.set(normalise(folder), text);
    return output.replaceAll(toldBeside, "");
  }

  /** No more lists will come. */
  end(): void {
    this.#end();
  }

  /** What the dry run told of a folder, once it has ended; undefined when nothing did or will. */
  async of(folder: string): Promise<string | undefined> {
    if (!this.#folders.has(folder)) return undefined;
    await this.#ended;
    return this.#told.get(folder);
  }
}

/** Where Kbuild is asked. */
export interface KbuildQuestion {
  readonly environment: KbuildEnvironment;
  /** The prepared tree or a shadow of it. */
  readonly at: string;
  /** A folder for a small makefile. */
  readonly scratch: string;
  /** Folder that keeps the answers, where they are those of the prepared tree itself; undefined for a shadow with other Makefiles. */
  readonly kept?: string | undefined;
}

/**
 * Asks Kbuild for the lists of a folder, which this configuration builds.
 * @returns what {@link listReporter} makes it print; empty for a folder that it has no Makefile for.
 */
async function askForLists({ environment, at, scratch }: KbuildQuestion, folder: string): Promise<string> {
  const reporter = await makeOnce(join(scratch, "kmend-lists.mk"), (temporary) => writeFile(temporary, listReporter));
  const result = await run(
    "make",
    ["-rR", "--no-print-directory", "-f", "./scripts/Makefile.build", `obj=${folder}`, "need-builtin=1", "kmend-lists"],
    {
      cwd: at,
      env: { ...makeEnvironment(environment, at), MAKEFILES: reporter },
      cleanEnv: true,
      allowFailure: true,
    },
  );
  if (result.exitCode < 0) throw new Error(`make could not be run for ${folder}: ${result.all}`);
  // Makefiles of other architectures may need what this one does not set; nothing of theirs is built.
  return result.exitCode === 0 ? result.stdout : "";
}

/** The objects of a folder that this configuration builds. The prepared tree never changes, and so never do its answers. */
export async function folderObjects(
  question: KbuildQuestion,
  folder: string,
  beside?: UnitLists,
): Promise<FolderObjects> {
  const { kept } = question;
  const path = kept === undefined ? undefined : join(kept, `${folder.replaceAll("/", "__")}.txt`);
  const known = path === undefined ? undefined : await readFile(path, "utf8").catch(() => undefined);
  const text = known ?? (await beside?.of(folder)) ?? (await askForLists(question, folder));
  if (path !== undefined && known === undefined && text !== "") await writeFileAtomically(path, text);
  return readLists(text);
}

function readLists(text: string): FolderObjects {
  const list = (name: string): Map<string, string> => {
    const line = text.split("\n").find((candidate) => candidate.startsWith(`${name}:`)) ?? "";
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
 * @param beside lists that another question to Kbuild tells at the same time, and that need not be asked for.
 * @returns by source path.
 */
export async function membershipOf(
  question: KbuildQuestion,
  sources: readonly string[],
  beside?: UnitLists,
): Promise<Map<string, Membership>> {
  const query = new MembershipQuery(question, beside);
  const members = await mapConcurrently(sources, 2 * availableParallelism(), (source) => query.of(source));
  return new Map(sources.map((source, index) => [source, members[index] as Membership]));
}

/** Tells whether Kbuild comes to a folder on its way down from the top. */
export async function isReachedFolder(question: KbuildQuestion, folder: string): Promise<boolean> {
  return new MembershipQuery(question, undefined).isReached(folder);
}

class MembershipQuery {
  readonly #question: KbuildQuestion;
  /** Where Kbuild starts. */
  readonly #top: string;
  readonly #asked = new Map<string, Promise<FolderObjects>>();
  readonly #beside: UnitLists | undefined;

  constructor(question: KbuildQuestion, beside: UnitLists | undefined) {
    this.#beside = beside;
    this.#question = question;
    this.#top = question.environment.external ?? ".";
  }

  async of(source: string): Promise<Membership> {
    const object = source.replace(/\.[cS]$/, ".o");
    const folders = foldersAbove(dirname(source)).filter((folder) => this.#mayBeAsked(folder));
    // Nearly always all of these are asked in the end, and each takes a make of its own.
    const all = Promise.allSettled([...folders, this.#top].map((folder) => this.#ask(folder)));
    try {
      return (
        (await this.#listedIn(folders, object)) ??
        (await this.#listedIn(await this.#siblings(folders), object)) ??
        notBuilt
      );
    } finally {
      await all;
    }
  }

  async #listedIn(folders: readonly string[], object: string): Promise<Membership | undefined> {
    for (const folder of folders) {
      const lists = await this.#ask(folder);
      const builtin = lists.builtin.get(object);
      const module = lists.module.get(object);
      if ((builtin ?? module) === undefined || !(await this.isReached(folder))) continue;
      return builtin === undefined
        ? { kind: "module", object: module as string }
        : { kind: "builtin", object: builtin };
    }
    return undefined;
  }

  /** Folders beside the way to the top whose Makefile reaches out of its folder. */
  async #siblings(ways: readonly string[]): Promise<string[]> {
    const beside: string[] = [];
    const top = this.#top === "." ? -1 : undefined;
    for (const above of ways.slice(1, top)) {
      const entries = await readdir(join(this.#question.at, above), { withFileTypes: true });
      for (const { name } of entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink())) {
        const folder = join(above, name);
        if (ways.includes(folder)) continue;
        const text = await readFile(join(this.#question.at, folder, "Makefile"), "utf8").catch(() => "");
        if (/\/\.\.|\.\.\//.test(text)) beside.push(folder);
      }
    }
    return beside.slice(0, siblingLimit);
  }

  #ask(folder: string): Promise<FolderObjects> {
    let answer = this.#asked.get(folder);
    if (answer === undefined) {
      answer = folderObjects(this.#question, folder, this.#beside);
      this.#asked.set(folder, answer);
    }
    return answer;
  }

  /** Beside and above the source of an external module is nothing that Kbuild would look at. */
  #mayBeAsked(folder: string): boolean {
    return this.#top === "." || folder === this.#top || folder.startsWith(`${this.#top}/`);
  }

  /** True when Kbuild comes to a folder; a Makefile may reach over several levels, as in `obj-y += kernel/cpu/mce/`. */
  async isReached(folder: string): Promise<boolean> {
    if (folder === this.#top) return true;
    for (let above = dirname(folder); ; above = dirname(above)) {
      if ((await this.#ask(above)).folders.has(folder)) return this.isReached(above);
      if (above === this.#top) return false;
    }
  }
}

/** A folder and those above it, the tree itself left out. */
function foldersAbove(folder: string): string[] {
  const folders: string[] = [];
  for (let above = folder; above !== "."; above = dirname(above)) folders.push(above);
  return folders;
}
