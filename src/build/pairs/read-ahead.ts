import { readFile } from "node:fs/promises";
import type { EntrySizes } from "../../diff/special-sections/tables.ts";
import { readUnitObject, type UnitObject } from "../../diff/unit-object.ts";
import { type ExportedSymbols, joinSymbols, readSymvers, type Symvers } from "../../kernel/modules/symvers.ts";
import type { TargetKernel } from "../../kernel/target-kernel.ts";
import { matchUnit, type Proof } from "../../match/match-unit.ts";
import type { Early, Prefetch } from "../prefetch.ts";
import type { TargetObjects } from "../resolve/target-objects.ts";
import type { OriginalUnit } from "./unit-pairs.ts";

/** The original build of a unit, read, and matched against the target kernel. */
export interface ProvenOriginal {
  readonly unit: UnitObject;
  readonly proof: Proof;
}

type KernelExports = Pick<TargetKernel, "symversPath">;

const knownExports = new WeakMap<KernelExports, Promise<Symvers>>();

function exportsOf(kernel: KernelExports): Promise<Symvers> {
  const known = knownExports.get(kernel) ?? readSymvers(kernel.symversPath);
  knownExports.set(kernel, known);
  return known;
}

/** How many originals are read ahead: most patches touch fewer, and those of a header would fill the memory. */
const limit = 8;

/**
 * What a build needs besides the patched objects. It is read while the compilers of these run, where it takes no time of its own: reading starts with
 * {@link start}, and errors come out where the result is asked for.
 */
export class ReadAhead {
  readonly #objects: TargetObjects;
  readonly #entrySizes: EntrySizes;
  readonly #prefetch: Prefetch;
  readonly #originals = new Map<string, Early<ProvenOriginal>>();
  readonly #symvers: Early<ExportedSymbols>;

  /**
   * @param kernel whose exports are read once, also for several builds.
   * @param prefetch of the build, which ends what nobody asks for.
   * @param entrySizes of the target's special tables.
   * @param further exports of modules that are not the kernel's own.
   */
  constructor(
    kernel: KernelExports,
    objects: TargetObjects,
    prefetch: Prefetch,
    entrySizes: EntrySizes,
    further: ExportedSymbols = new Map(),
  ) {
    this.#prefetch = prefetch;
    this.#symvers = prefetch.of(async () => joinSymbols([await exportsOf(kernel), further]));
    this.#entrySizes = entrySizes;
    this.#objects = objects;
  }

  /**
   * @param units all units whose objects will be looked at.
   * @param known those of them whose originals are there already.
   */
  start(units: readonly OriginalUnit[], known: readonly OriginalUnit[]): void {
    this.#symvers.begin();
    this.#prefetch.of(() => this.#objects.symbols()).begin();
    for (const { object } of units.slice(0, limit)) this.#prefetch.of(() => this.#objects.open(object)).begin();
    for (const { originalPath, object } of known.slice(0, limit)) {
      if (originalPath === undefined) continue;
      const original = this.#prefetch.of(() => this.#prove(originalPath, object));
      original.begin();
      this.#originals.set(`${object} ${originalPath}`, original);
    }
  }

  /** Exported symbols of the target kernel. @throws KmendError `SYMVERS_DAMAGED` */
  symvers(): Promise<ExportedSymbols> {
    return this.#symvers.result();
  }

  /** The original of a unit; undefined for a unit that the patch adds. */
  async original({ originalPath, object }: OriginalUnit): Promise<ProvenOriginal | undefined> {
    if (originalPath === undefined) return undefined;
    const key = `${object} ${originalPath}`;
    const known = this.#originals.get(key);
    this.#originals.delete(key);
    return known?.result() ?? this.#prove(originalPath, object);
  }

  async #prove(path: string, object: string): Promise<ProvenOriginal> {
    const unit = await readUnitObject(await readFile(path), this.#entrySizes);
    return { unit, proof: await matchUnit(unit, await this.#objects.open(object)) };
  }
}
