import { basename } from "node:path";
import type { Kallsyms } from "../../kernel/image/kallsyms.ts";
import type { ExternalModule } from "../../kernel/modules/external-module.ts";
import { ShippedModules } from "../../kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../kernel/target-kernel.ts";
import { ModuleObject } from "../../match/module-object.ts";
import { type PatchInForce, StackedObject } from "../../match/stacked-object.ts";
import type { TargetObject } from "../../match/target-object.ts";
import { VmlinuxObject } from "../../match/vmlinux-object.ts";
import { cacheRoot } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";

/** Opens the objects of one target kernel, each once. */
export class TargetObjects {
  readonly #kernel: Pick<TargetKernel, "image" | "imagePath" | "modulesDir" | "release">;
  readonly #inForce: readonly PatchInForce[];
  readonly #external: ExternalModule | undefined;
  readonly #opened = new Map<string, Promise<TargetObject>>();

  /**
   * @param inForce patch modules that run on the kernel, oldest first.
   * @param external a module that is not one of the kernel's own; it goes before one of the same name.
   */
  constructor(
    kernel: Pick<TargetKernel, "image" | "imagePath" | "modulesDir" | "release">,
    inForce: readonly PatchInForce[] = [],
    external?: ExternalModule,
  ) {
    this.#kernel = kernel;
    this.#inForce = inForce;
    this.#external = external;
  }

  /**
   * The kernel image or a shipped module.
   * @param object `vmlinux` or a module's name.
   * @throws KmendError `MODULE_NOT_SHIPPED`
   */
  open(object: string): Promise<TargetObject> {
    let opened = this.#opened.get(object);
    if (opened === undefined) {
      opened = this.#read(object);
      this.#opened.set(object, opened);
    }
    return opened;
  }

  /** Names of all that {@link open} was asked for. */
  opened(): readonly string[] {
    return [...this.#opened.keys()];
  }

  /** The kernel's symbol table, which every object is resolved against. @throws KmendError `KALLSYMS_…` */
  async symbols(): Promise<Kallsyms> {
    return this.#kernel.image.kallsyms();
  }

  async #read(object: string): Promise<TargetObject> {
    const shipped = await this.#shipped(object);
    const patches = this.#inForce.filter(({ functions }) => functions.some((entry) => entry.object === object));
    return patches.length === 0 ? shipped : new StackedObject(shipped, patches);
  }

  async #shipped(object: string): Promise<TargetObject> {
    const { image, imagePath, modulesDir, release } = this.#kernel;
    if (object === "vmlinux") return new VmlinuxObject(image, basename(imagePath));
    const external = this.#external;
    if (external?.name === object) return new ModuleObject(object, external.file, basename(external.path));
    const modules = await ShippedModules.open(modulesDir);
    const shipped = modules.find(object);
    if (external !== undefined && shipped === undefined) throw otherModule(object, external);
    if (modulesDir === undefined) {
      throw new KmendError({
        code: "MODULE_NOT_SHIPPED",
        message: `the module ${object} cannot be patched, since no built modules of kernel ${release} are known`,
        why: "code of a module is proven against its .ko file; there are none in the source tree, and none in /lib/modules",
        hint: "run make modules in the source tree, or install the modules of this kernel",
        exitCode: ExitCode.refused,
      });
    }
    if (shipped === undefined) {
      throw new KmendError({
        code: "MODULE_NOT_SHIPPED",
        message: `the target kernel has no module ${object}`,
        where: modulesDir,
        why: "the source says that a touched file belongs to it",
        hint: "check that source and kernel are of the same version and configuration",
      });
    }
    return new ModuleObject(object, await modules.readOnce(shipped, cacheRoot()), `${basename(shipped.modfile)}.ko`);
  }
}

function otherModule(object: string, { name, path }: ExternalModule): KmendError {
  return new KmendError({
    code: "MODULE_NOT_SHIPPED",
    message: `a touched file belongs to the module ${object}, and the one that was given is ${name}`,
    where: path,
    why: "code of a module is proven against its .ko file",
    hint: `give the .ko file of ${object} with --oot-module, or leave out what changes the other module: one is patched at a time`,
    exitCode: ExitCode.refused,
  });
}
