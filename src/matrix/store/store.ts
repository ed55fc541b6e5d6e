/**
 * Where results lie, under names with `/` between their parts. What is there is never changed: a name is made once, with its whole content, by whoever is first.
 */
export interface Store {
  /** Tells this store from others, whatever path leads to it. */
  readonly id: string;
  /** For messages. */
  readonly place: string;
  /** Content of a name, or undefined. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** Makes a name. `same` and `other` say what is there already. */
  create(name: string, content: Uint8Array): Promise<"created" | "same" | "other">;
  /** Names that begin with a prefix ending in `/`, sorted. */
  list(prefix: string): Promise<readonly string[]>;
}

/** Name of the file that makes a folder or bucket a store. */
export const storeMark = "store.json";
