import type { Atom } from "../diff/atoms.ts";
import { baseName } from "../diff/names.ts";
import type { Proof } from "../match/match-unit.ts";
import type { TargetObject, TargetSymbol } from "../match/target-object.ts";
import type { ExportedSymbols } from "../target/symvers.ts";

/** How carried code reaches something outside of the patch module. */
export type Reach =
  /** The module loader resolves it: exported by vmlinux, defined by another unit of this patch, or absent and weak. */
  | { readonly by: "loader"; readonly name: string; readonly proof: string }
  /** A livepatch relocation. */
  | { readonly by: "klp"; readonly symbol: KlpSymbol; readonly proof: string }
  | { readonly by: "nothing"; readonly problem: Unresolved };

/** The symbol of a livepatch relocation: `.klp.sym.<object>.<name>,<sympos>`. */
export interface KlpSymbol {
  readonly object: string;
  readonly name: string;
  readonly sympos: number;
  /** Added to the symbol's address to reach what is meant; not zero only where a neighbouring symbol stands in. */
  readonly offset: number;
}

export interface Unresolved {
  /** `added`: an earlier patch module brought it. */
  readonly kind: "missing" | "ambiguous" | "unproven" | "added";
  readonly name: string;
  readonly object: string;
  readonly candidates: readonly TargetSymbol[];
}

/** Facts that resolving needs about everything but the unit itself. */
export interface ResolveContext {
  readonly target: TargetObject;
  readonly proof: Proof;
  readonly symvers: ExportedSymbols;
  /** New global symbols that the units of this patch define, with the object of their unit. */
  readonly newGlobals: ReadonlyMap<string, string>;
  /** Addresses settled by matching the unit that defines a symbol; see settle.ts. */
  readonly settled: ReadonlyMap<string, number>;
  /** True when it is not known which symbols the kernel has. */
  readonly externalsUnknown?: boolean | undefined;
}

/** Resolves a thing of the original unit that the running kernel keeps. */
export function resolveOriginal(atom: Atom, context: ResolveContext): Reach {
  const { target, proof, symvers } = context;
  const isGlobal = atom.symbol !== undefined && atom.symbol.binding !== 0;
  const exported = isGlobal ? symvers.get(atom.name) : undefined;
  const address = proof.addressOf(atom);
  if (exported?.owner === "vmlinux" && target.name === "vmlinux") {
    return { by: "loader", name: atom.name, proof: "exported by vmlinux" };
  }
  if (address !== undefined) {
    const here = target.symbolsAt(address);
    const symbol = here.find(({ name }) => name === atom.name) ?? here.find(({ name }) => baseName(name) === atom.base);
    if (symbol !== undefined) return klp(target, symbol, "address read from the matched code");
  }
  const named = target.symbolsNamed(atom.name);
  // The number in a name such as count.3 is not unique to a unit, so the name alone proves nothing.
  if (address === undefined && named.length === 1 && atom.base === atom.name)
    return klp(target, named[0] as TargetSymbol, "the only symbol of this name");
  return unresolved(
    named.length === 0 ? "missing" : address === undefined ? "ambiguous" : "unproven",
    atom.name,
    target,
    named,
  );
}

/** Resolves a symbol that the unit does not define. */
export function resolveExternal(name: string, weak: boolean, context: ResolveContext): Reach {
  const { target, proof, symvers, newGlobals, settled } = context;
  const home = newGlobals.get(name);
  if (home !== undefined) return { by: "loader", name, proof: "defined by another unit of this patch" };
  const exported = symvers.get(name);
  if (exported?.owner === "vmlinux") return { by: "loader", name, proof: "exported by vmlinux" };
  if (exported !== undefined && exported.owner !== target.name) {
    // The module that exports it may be loaded later than the patch module, so the module loader must not look for it.
    return {
      by: "klp",
      symbol: { object: exported.owner, name, sympos: 0, offset: 0 },
      proof: `exported by ${exported.owner}`,
    };
  }
  const named = target.symbolsNamed(name);
  const value = proof.valueOf(name);
  const address = value?.kind === "address" ? value.address : settled.get(name);
  const symbol = address === undefined ? undefined : named.find((candidate) => candidate.address === address);
  if (symbol !== undefined) {
    return klp(
      target,
      symbol,
      value === undefined ? "matched in the unit that defines it" : "address read from the matched code",
    );
  }
  if (named.length === 1 && address === undefined)
    return klp(target, named[0] as TargetSymbol, "the only symbol of this name");
  if (named.length === 0 && context.externalsUnknown === true)
    return { by: "loader", name, proof: "left to the module loader" };
  if (named.length === 0 && weak) return { by: "loader", name, proof: "weak and absent from the kernel" };
  return unresolved(
    named.length === 0 ? "missing" : address === undefined ? "ambiguous" : "unproven",
    name,
    target,
    named,
  );
}

function klp(target: TargetObject, symbol: TargetSymbol, proof: string): Reach {
  if (symbol.from !== undefined) return unresolved("added", symbol.name, target, [symbol]);
  return { by: "klp", symbol: { object: target.name, name: symbol.name, sympos: symbol.sympos, offset: 0 }, proof };
}

function unresolved(
  kind: Unresolved["kind"],
  name: string,
  target: TargetObject,
  candidates: readonly TargetSymbol[],
): Reach {
  return { by: "nothing", problem: { kind, name, object: target.name, candidates } };
}
