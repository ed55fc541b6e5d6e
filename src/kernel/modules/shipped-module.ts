import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, writeFileAtomically } from "../../support/cache.ts";
import { compressionOf, decompress } from "../../support/decompress.ts";
import { KmendError, systemErrorCode } from "../../support/errors.ts";
import { moduleName } from "../../support/module-file-name.ts";
import { digestOfFile } from "../image/file-digest.ts";

/** A module that belongs to the target kernel. */
export interface ShippedModule {
  /** As `/proc/modules` shows it. */
  readonly name: string;
  /** KBUILD_MODFILE: path in the source tree without suffix, for example `fs/fuse/fuse`. */
  readonly modfile: string;
}

/** The modules of one kernel, as its package installs them or as they lie in the tree that they were built in. */
export class ShippedModules {
  /** `…/lib/modules/<release>` or the top of a kernel tree; undefined when the kernel has no modules. */
  readonly folder: string | undefined;
  readonly #orderText: string;
  readonly #builtinText: string;

  private constructor(folder: string | undefined, orderText: string, builtinText: string) {
    this.folder = folder;
    this.#orderText = orderText;
    this.#builtinText = builtinText;
  }

  /**
   * Reads the lists that depmod(8) starts from, `modules.order` and `modules.builtin`. A kernel tree has them at its top, the latter after a whole build.
   * @throws KmendError `MODULES_MISSING` when the folder has no list.
   */
  static async open(folder: string | undefined): Promise<ShippedModules> {
    if (folder === undefined) return new ShippedModules(undefined, "", "");
    const builtinList = join(folder, "modules.builtin");
    const hasBuiltin = !(await isTree(folder)) || (await exists(builtinList));
    const [order, builtin] = await Promise.all([
      readList(join(folder, "modules.order")),
      hasBuiltin ? readList(builtinList) : "",
    ]);
    return new ShippedModules(folder, order, builtin);
  }

  /** Loadable modules, in the order of the kernel's build. */
  get loadable(): readonly ShippedModule[] {
    return [...this.#entries()];
  }

  /** The first loadable modules in that order, without a look at the others: there are thousands. */
  first(count: number): readonly ShippedModule[] {
    const found: ShippedModule[] = [];
    for (let at = 0; found.length < count && at < this.#orderText.length; ) {
      const end = this.#orderText.indexOf("\n", at);
      const line = this.#orderText.slice(at, end < 0 ? undefined : end);
      if (line !== "") found.push(entryOf(line));
      at = end < 0 ? this.#orderText.length : end + 1;
    }
    return found;
  }

  /** A loadable module by name (either of `-` and `_`) or by KBUILD_MODFILE. */
  find(nameOrModfile: string): ShippedModule | undefined {
    const name = moduleName(nameOrModfile);
    // A kernel has thousands of modules, and a patch touches few: only lines that can be the one are taken apart.
    const line = lineOf(this.#orderText, name);
    const module = line === undefined ? undefined : entryOf(line);
    return nameOrModfile.includes("/") && module?.modfile !== nameOrModfile ? undefined : module;
  }

  /** Whether the kernel image contains a module. */
  isBuiltin(name: string): boolean {
    return lineOf(this.#builtinText, moduleName(name)) !== undefined;
  }

  *#entries(): Iterable<ShippedModule> {
    for (const line of this.#orderText.split("\n")) if (line !== "") yield entryOf(line);
  }

  /** Some module whose file is there: the list of a kernel's modules is in one package, and they may be in several. */
  async anyPresent(): Promise<ShippedModule | undefined> {
    for (const module of this.#entries()) if ((await this.#fileOf(module)).found !== undefined) return module;
    return undefined;
  }

  async #fileOf(module: ShippedModule): Promise<{ readonly path: string; readonly found: string | undefined }> {
    if (this.folder === undefined) throw new Error("a kernel without modules has none to read");
    const path = join(this.folder, (await isTree(this.folder)) ? "" : "kernel", `${module.modfile}.ko`);
    for (const suffix of ["", ".xz", ".zst", ".gz"])
      if (await exists(path + suffix)) return { path, found: path + suffix };
    return { path, found: undefined };
  }

  /**
   * Path of the module's file, with whatever compression suffix it has.
   * @throws KmendError `MODULE_FILE_MISSING`.
   */
  async pathOf(module: ShippedModule): Promise<string> {
    const { path, found } = await this.#fileOf(module);
    if (found !== undefined) return found;
    throw new KmendError({
      code: "MODULE_FILE_MISSING",
      message: `the kernel's module ${module.name} is not there`,
      where: `${path}[.xz|.zst|.gz]`,
      hint: "install all packages of the kernel's modules, or let kmend download them with --kernel RELEASE, or give the RPM with it as --kernel-rpm",
    });
  }

  /**
   * The module's unpacked ELF bytes, appended signature included.
   * @throws KmendError `MODULE_FILE_MISSING`, `COMPRESSION_DAMAGED`.
   */
  async read(module: ShippedModule, signal?: AbortSignal): Promise<Buffer> {
    const path = await this.pathOf(module);
    const data = await readFile(path);
    return compressionOf(data) === undefined ? data : decompress(data, path, { signal });
  }

  /**
   * The same as {@link read}, from the cache when it was unpacked before: that of a graphics driver takes a second.
   * @param cache folder of the cache; what it keeps belongs to the content of the module's file.
   */
  async readOnce(module: ShippedModule, cache: string, signal?: AbortSignal): Promise<Buffer> {
    const path = await this.pathOf(module);
    if (path.endsWith(".ko")) return readFile(path);
    const unpacked = join(cache, "modules", `${module.name}-${await digestOfFile(path, cache)}.ko`);
    const known = await readFile(unpacked).catch(() => undefined);
    if (known !== undefined) return known;
    const data = await this.read(module, signal);
    // A cache that cannot be written costs time, and nothing else here.
    await writeFileAtomically(unpacked, data).catch(() => {});
    return data;
  }
}

/** The top of a kernel tree has this file; a package's folder of modules has not. */
function isTree(folder: string): Promise<boolean> {
  return exists(join(folder, "Kbuild"));
}

/** Lines are `kernel/fs/fuse/fuse.ko`; in a tree `fs/fuse/fuse.ko` since Linux 5.3 and `fs/fuse/fuse.o` since 6.2. */
async function readList(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    throw new KmendError({
      code: "MODULES_MISSING",
      message:
        systemErrorCode(error) === "ENOENT" ? "the kernel's list of modules is not there" : "the list cannot be read",
      where: path,
      hint: "install the kernel's image package completely",
      cause: error,
    });
  });
}

function entryOf(line: string): ShippedModule {
  const modfile = line.replace(/^kernel\//, "").replace(/(\.ko(\.\w+)?|\.o)$/, "");
  return { name: moduleName(modfile), modfile };
}

/** The last line of a list for a module. @param name with underscores, where the file's name may have dashes. */
function lineOf(list: string, name: string): string | undefined {
  if (!/^\w+$/.test(name)) return undefined;
  const lines = list.match(new RegExp(`^(?:.*/)?${name.replaceAll("_", "[-_]")}(?:\\.ko(?:\\.\\w+)?|\\.o)$`, "gm"));
  return lines?.at(-1);
}
