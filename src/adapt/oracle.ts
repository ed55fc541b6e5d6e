import type { Diagnostic } from "./diagnostics.ts";
import { SourceText } from "./source-text.ts";

/** Texts of files that differ from those of the source tree, each byte one character; null for a file that is gone. */
export type TextOverlay = ReadonlyMap<string, string | null>;

/** The compiler, asked about units without making objects of them. */
export interface Oracle {
  /** Source files of the units that see the type. */
  readonly units: readonly string[];
  /** How many compilers may run at once. */
  readonly jobs: number;
  /**
   * What the compiler says of a unit.
   * @param files in place of the tree's.
   * @param probe text of a header that the unit includes before its own.
   */
  diagnose(unit: string, files: TextOverlay, probe?: string): Promise<Diagnostic[]>;
  /** A file of the tree; undefined when there is none. */
  read(path: string): Promise<string | undefined>;
}

/** Files as they are with an overlay. */
export class SourceFiles {
  readonly #oracle: Oracle;
  readonly overlay: TextOverlay;
  readonly #known = new Map<string, Promise<SourceText | undefined>>();

  constructor(oracle: Oracle, overlay: TextOverlay) {
    this.#oracle = oracle;
    this.overlay = overlay;
  }

  /** Undefined for a file that is not there. */
  open(path: string): Promise<SourceText | undefined> {
    let known = this.#known.get(path);
    if (known === undefined) {
      known = this.#read(path);
      this.#known.set(path, known);
    }
    return known;
  }

  async #read(path: string): Promise<SourceText | undefined> {
    const text = this.overlay.has(path) ? this.overlay.get(path) : await this.#oracle.read(path);
    return typeof text === "string" ? new SourceText(path, text) : undefined;
  }
}
