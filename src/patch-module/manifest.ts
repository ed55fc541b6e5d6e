/** A function that the module replaces, with what its proof rests on. */

export interface ManifestFunction {
  readonly name: string;
  readonly object: string;
  readonly unit: string;
  readonly sympos: number;
  /** Where the target has it: an address of the kernel image as it is linked, or in a module section number × 2^36 + offset. */
  readonly address: string;
  readonly bytes: number;
  /** SHA-256 of these bytes of the target. */
  readonly sha256: string;
  /** SHA-256 of what relocations and tables of the target say about them (src/match/surroundings.ts); missing in modules of older versions. */
  readonly surroundings?: string | undefined;
  /** True when other functions of the module call its version directly, past what a later module puts in its place; missing in modules of older versions. */
  readonly calledDirectly?: boolean | undefined;
}

/** A symbol that the module reaches by livepatch relocation. */
export interface ManifestSymbol {
  readonly name: string;
  readonly object: string;
  readonly sympos: number;
  /** Missing for a symbol of another module than the patched one. */
  readonly address?: string | undefined;
}

/** A kernel module that is patched, as it was when the patch module was proven. */
export interface ManifestModule {
  readonly name: string;
  /** GNU build id in hexadecimal digits; missing when its file has none. */
  readonly buildId?: string | undefined;
  /** Digest of its sources by modpost (`srcversion` of .modinfo); missing when its file has none. */
  readonly srcversion?: string | undefined;
}

/** How the patches were rewritten so that they can be live. */
export interface ManifestAdaptation {
  /** Text of the adapted patch. */
  readonly patch: string;
  /** What it rests on, each with its place. */
  readonly assumptions: readonly string[];
}

/** A module that stops functions, in place of one that was built from patches. */
export interface ManifestStop {
  /** Why, in the words of whoever made it; missing when nobody said. */
  readonly reason?: string | undefined;
  /** Whether calls are counted and reported. */
  readonly log: boolean;
  /** What callers of each function get, in the order of the manifest's functions: `-EPERM`, `0`, `nothing`. */
  readonly answers: readonly string[];
  /** Name of the module parameter with the count of calls of each function, in the same order; empty without a log. */
  readonly counters: readonly string[];
  /** Sizes and places in the structures of the kernel, in bytes, by which the module's tables are read. */
  readonly layout: {
    readonly object: { readonly size: number; readonly name: number; readonly funcs: number };
    readonly func: {
      readonly size: number;
      readonly oldName: number;
      readonly newFunc: number;
      readonly sympos: number;
    };
  };
}

/** What a patch module says about itself; it is in the module, so that a loaded or a stray one can be identified and proven again. */
export interface Manifest {
  readonly schema: 1;
  readonly kmend: string;
  /** SHA-256 of the module's file with zeros in the place of this text; missing in modules of older versions. */
  readonly seal?: string | undefined;
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly replace: boolean;
  /** Types whose change was accepted with --allow-layout. */
  readonly allowedLayouts: readonly string[];
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  /** Vulnerabilities that the patches fix, by their numbers; missing when nobody named any. */
  readonly cves?: readonly string[] | undefined;
  /** What was built in place of the patches, whose data could not be live; missing when that was not needed. */
  readonly adapted?: ManifestAdaptation | undefined;
  /** Patch modules that have to be in force before this one, oldest first. */
  readonly after?: readonly { readonly name: string; readonly sha256: string }[] | undefined;
  /** The module that is patched when it is not one of the kernel's own. */
  readonly external?: { readonly name: string; readonly sha256: string } | undefined;
  /** What tells the very builds of the modules that are patched. */
  readonly modules?: readonly ManifestModule[] | undefined;
  /** Why something may come by an address of the module's after its patch has been disabled; missing when nothing does. */
  readonly keptAddresses?: readonly string[] | undefined;
  /** The author's word that the module can be unloaded in spite of {@link keptAddresses}. */
  readonly removable?: true | undefined;
  /** What a module of `kmend stop` does; missing in all others. */
  readonly stop?: ManifestStop | undefined;
  readonly functions: readonly ManifestFunction[];
  readonly symbols: readonly ManifestSymbol[];
}
