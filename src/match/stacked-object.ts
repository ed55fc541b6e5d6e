import type { TableRule } from "../diff/special-sections/special-sections.ts";
import type { ElfReader } from "../elf/reader.ts";
import type { InForce } from "../patch-module/functions-in-force.ts";
import { ModuleObject } from "./module-object.ts";
import type { PlaceValue, TargetEntry, TargetObject, TargetSymbol } from "./target-object.ts";

export { functionsInForce, type InForce } from "../patch-module/functions-in-force.ts";

/** Distance between the made-up addresses of two patch modules: more than a module's sections take. */
const moduleStride = 2 ** 48;

/** How many patch modules can lie on each other: addresses have to stay exact in a double. */
export const stackLimit = 30;

/** A patch module that is in force, as a file. */
export interface PatchInForce {
  /** For messages. */
  readonly name: string;
  readonly elf: ElfReader;
  readonly file: Uint8Array;
  readonly functions: readonly InForce[];
}

/**
 * What runs when patch modules are in force on top of an object: for a function that one of them replaces, the code of the newest of these, and for all
 * else the shipped one.
 *
 * How a later patch module reaches the functions: the livepatch core keeps, for each patched function of the *kernel*, a stack of replacements, of which
 * the newest counts (`struct klp_ops`, kernel/livepatch/patch.c). So the later module names the kernel's function again, by the name and position that the
 * shipped object gives it, and goes on top. Hence {@link symbolsNamed} gives a replaced function the kernel's name and position with the address of the
 * code that runs, and {@link canonical} takes the kernel's address of it, which unchanged code calls, for the same. What an earlier patch module added
 * (a new function or variable) has no name that the core could look up: klp relocations search the object only. Such symbols are marked by
 * {@link TargetSymbol.from}, can be matched, and cannot be reached.
 */
export class StackedObject implements TargetObject {
  readonly name: string;
  readonly source: string;
  readonly dependsOn: ReadonlySet<string>;
  readonly #base: TargetObject;
  readonly #layers: readonly ModuleObject[];
  readonly #modules: readonly string[];
  /** From the kernel's address of a replaced function to that of the code that runs, and back. */
  readonly #inForce = new Map<number, number>();
  readonly #beneath = new Map<number, number>();
  /** Code of patch modules that newer ones replace: nothing may be proven from it. */
  readonly #superseded = new Set<number>();

  /** @param patches oldest first. */
  constructor(base: TargetObject, patches: readonly PatchInForce[]) {
    if (patches.length > stackLimit) throw new Error(`${patches.length} patch modules lie on each other`);
    this.name = base.name;
    this.source = `${base.source} with ${patches.map(({ name }) => name).join(", ")}`;
    this.dependsOn = base.dependsOn ?? new Set();
    this.#base = base;
    this.#modules = patches.map(({ name }) => name);
    this.#layers = patches.map(({ name, file }) => new ModuleObject(base.name, file, name));
    patches.forEach(({ functions }, layer) => {
      for (const { object, name, sympos, section, offset } of functions) {
        if (object !== base.name) continue;
        const named = base.symbolsNamed(name);
        const kernel = sympos === 0 ? named[0]?.address : named[sympos - 1]?.address;
        if (kernel === undefined) continue;
        const before = this.#inForce.get(kernel);
        if (before !== undefined) {
          this.#beneath.delete(before);
          this.#superseded.add(before);
        }
        const running = this.#outer(layer, ModuleObject.addressIn(section, offset));
        this.#inForce.set(kernel, running);
        this.#beneath.set(running, kernel);
      }
    });
  }

  symbolsNamed(name: string): readonly TargetSymbol[] {
    const shipped = this.#base
      .symbolsNamed(name)
      .map((symbol) => ({ ...symbol, address: this.canonical(symbol.address) }));
    const added = this.#layers.flatMap((layer, index) =>
      layer.symbolsNamed(name).map((symbol) => this.#added(index, symbol)),
    );
    const isOwn = (address: number): boolean => !this.#beneath.has(address) && !this.#superseded.has(address);
    return [...shipped, ...added.filter(({ address }) => isOwn(address))];
  }

  symbolsAt(address: number): readonly TargetSymbol[] {
    const kernel = this.#beneath.get(address);
    if (kernel !== undefined) return this.#base.symbolsAt(kernel).map((symbol) => ({ ...symbol, address }));
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.symbolsAt(address);
    if (this.#superseded.has(address)) return [];
    return (this.#layers[layer] as ModuleObject)
      .symbolsAt(this.#inner(layer, address))
      .map((symbol) => this.#added(layer, symbol));
  }

  roomAt(address: number): number | undefined {
    const layer = this.#layerOf(address);
    return layer === undefined ? this.#base.roomAt(address) : this.#layers[layer]?.roomAt(this.#inner(layer, address));
  }

  sizesAt(address: number): readonly number[] {
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.sizesAt?.(address) ?? [];
    return this.#layers[layer]?.sizesAt(this.#inner(layer, address)) ?? [];
  }

  bytesAt(address: number, length: number): Uint8Array | undefined {
    const layer = this.#layerOf(address);
    return layer === undefined
      ? this.#base.bytesAt(address, length)
      : this.#layers[layer]?.bytesAt(this.#inner(layer, address), length);
  }

  valueAt(address: number, width: number, pcRelative: boolean): PlaceValue | undefined {
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.valueAt(address, width, pcRelative);
    const value = this.#layers[layer]?.valueAt(this.#inner(layer, address), width, pcRelative);
    if (value === undefined) return undefined;
    if (value.kind === "address") return { kind: "address", address: this.#outer(layer, value.address) };
    if (value.kind === "absolute") return value;
    return this.#outside(value);
  }

  placesIn(address: number, length: number): readonly number[] | undefined {
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.placesIn?.(address, length);
    return this.#layers[layer]?.placesIn(this.#inner(layer, address), length).map((place) => this.#outer(layer, place));
  }

  isZeroAt(address: number, length: number): boolean | undefined {
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.isZeroAt?.(address, length);
    return this.#layers[layer]?.isZeroAt(this.#inner(layer, address), length) ?? false;
  }

  sectionAt(address: number): string | undefined {
    const layer = this.#layerOf(address);
    if (layer === undefined) return this.#base.sectionAt?.(address);
    return this.#layers[layer]?.sectionAt(this.#inner(layer, address));
  }

  tableEntries(
    rule: TableRule,
    size: number | undefined,
    from: number,
    to: number,
  ): readonly TargetEntry[] | undefined {
    const layer = this.#layerOf(from);
    if (layer === undefined) return this.#base.tableEntries?.(rule, size, from, to);
    return this.#layers[layer]
      ?.tableEntries(rule, size, this.#inner(layer, from), this.#inner(layer, to))
      .map(({ at, size, place, partner }) => ({
        at: this.#outer(layer, at),
        size,
        place: this.#outer(layer, place),
        partner: partner === undefined ? undefined : { ...partner, at: this.#outer(layer, partner.at) },
      }));
  }

  runtimeTables(): readonly string[] {
    return this.#base.runtimeTables?.() ?? [];
  }

  canonical(address: number): number {
    return this.#inForce.get(address) ?? address;
  }

  goneAt(address: number, name: string): string | undefined {
    return this.#layerOf(address) === undefined ? this.#base.goneAt?.(address, name) : undefined;
  }

  goneNamed(name: string): string | undefined {
    return this.#base.goneNamed?.(name);
  }

  /** Between addresses of the object beneath. */
  namesBetween(from: number, to: number): Iterable<string> {
    return this.#base.namesBetween?.(from, to) ?? [];
  }

  shippedAt(address: number): { readonly object: TargetObject; readonly address: number } | undefined {
    const kernel = this.#beneath.get(address);
    return kernel === undefined ? undefined : { object: this.#base, address: kernel };
  }

  /** What a patch module refers to outside of itself, as the object beneath would show it. */
  #outside(value: PlaceValue & { kind: "external" }): PlaceValue {
    const klp = /^\.klp\.sym\.([^.]+)\.(.+),(\d+)$/.exec(value.name);
    const name = klp?.[2] ?? value.name;
    const position = Number(klp?.[3] ?? 0);
    const inBase = klp === null ? this.name === "vmlinux" : klp[1] === this.name;
    const named = inBase ? this.#base.symbolsNamed(name) : [];
    const symbol = position === 0 ? (named.length === 1 ? named[0] : undefined) : named[position - 1];
    if (symbol === undefined) return { kind: "external", name, addend: value.addend };
    return { kind: "address", address: symbol.address + value.addend };
  }

  #added(layer: number, symbol: TargetSymbol): TargetSymbol {
    return { ...symbol, address: this.#outer(layer, symbol.address), from: this.#modules[layer] as string };
  }

  #outer(layer: number, address: number): number {
    return (layer + 1) * moduleStride + address;
  }

  #inner(layer: number, address: number): number {
    return address - (layer + 1) * moduleStride;
  }

  /** Addresses of the shipped object are below the first patch module's, or negative. */
  #layerOf(address: number): number | undefined {
    const layer = Math.floor((address + moduleStride / 2) / moduleStride) - 1;
    return layer >= 0 && layer < this.#layers.length ? layer : undefined;
  }
}
