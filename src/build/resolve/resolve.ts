import type { Atom } from "../../diff/atoms.ts";
import { baseName } from "../../diff/names.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import { linkerName } from "../../match/linker-names.ts";
import type { Proof } from "../../match/match-unit.ts";
import type { TargetObject, TargetSymbol } from "../../match/target-object.ts";

/** How carried code reaches something outside of the patch module. */
export type Reach =
  /** The module loader resolves it: exported, defined by another unit of this patch, or absent and weak. */
  | {
      readonly by: "loader";
      readonly name: string;
      readonly proof: string;
      /** The object that exports it; a patch module depends on it when it is a module. Undefined for what the patch itself defines, or nothing does. */
      readonly owner: string | undefined;
    }
  /** A livepatch relocation. */
  | { readonly by: "klp"; readonly symbol: KlpSymbol; readonly proof: string }
  | { readonly by: "nothing"; readonly problem: Unresolved };

/** The object that defines what is reached; undefined for what the patch defines itself, or what is not there. */
export function ownerOf(reach: Reach): string | undefined {
  if (reach.by === "nothing") return undefined;
  return reach.by === "klp" ? reach.symbol.object : reach.owner;
}

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
  /** For what is missing: why the symbols of that name do not count, as one clause. */
  readonly reason?: string | undefined;
}

/** Facts that resolving needs about everything but the unit itself. */
export interface ResolveContext {
  readonly target: TargetObject;
  readonly proof: Proof;
  readonly symvers: ExportedSymbols;
  /** New global symbols that the units of this patch define, with the object of their unit. */
  readonly newGlobals: ReadonlyMap<string, string>;
  /** Those of them that the patch exports. */
  readonly newExports?: ReadonlySet<string> | undefined;
  /** How to reach what another touched unit of an object defines with the patch and had before, by `object name`. */
  readonly defined?: ReadonlyMap<string, () => Reach> | undefined;
  /** Why a name is defined no longer, by `object name`. */
  readonly lost?: ReadonlyMap<string, string> | undefined;
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
    return { by: "loader", name: atom.name, owner: "vmlinux", proof: "exported by vmlinux" };
  }
  if (address !== undefined) {
    const here = target.symbolsAt(address);
    const symbol = here.find(({ name }) => name === atom.name) ?? here.find(({ name }) => baseName(name) === atom.base);
    if (symbol !== undefined) return klp(target, symbol, "address read from the matched code");
  }
  // The number in a name such as count.3 is not unique to a unit, so the name alone proves nothing.
  const named = target.symbolsNamed(atom.name);
  const { visible, isOpen, hidden } = linkerName(atom.name, target);
  const own = isGlobal ? visible : [...hidden, ...(isOpen ? visible : [])];
  const isUnequal = atom.kind === "function" && proof.mismatchOf(atom) !== undefined;
  if (address === undefined && own.length === 1 && atom.base === atom.name && (isGlobal ? !isOpen : !isUnequal)) {
    return klp(target, own[0] as TargetSymbol, isGlobal ? theGlobalOne : "the only symbol of this name");
  }
  return unresolved(
    named.length === 0 ? "missing" : address === undefined ? "ambiguous" : "unproven",
    atom.name,
    target,
    named,
  );
}

const theGlobalOne = "the only global symbol of this name";

/**
 * Resolves a symbol that the unit does not define, to what the linker would have bound it to: a definition of this patch; a global or weak one of the
 * object; for a module, what the kernel and other modules export. What is static in another unit is not reached by its name.
 */
export function resolveExternal(name: string, weak: boolean, context: ResolveContext): Reach {
  const { target, symvers, newGlobals, defined, lost } = context;
  const home = newGlobals.get(name);
  if (home === target.name)
    return { by: "loader", name, owner: undefined, proof: "defined by another unit of this patch" };
  const moved = defined?.get(`${target.name} ${name}`);
  if (moved !== undefined) return moved();
  const gone = lost?.get(`${target.name} ${name}`);
  if (gone !== undefined && !weak) return unresolved("missing", name, target, [], gone);
  const isModule = target.name !== "vmlinux";
  const exported = symvers.get(name);
  // The linker of a module comes before its loader.
  const inside = !isModule && exported?.owner === "vmlinux" ? undefined : resolveInside(name, context);
  if (inside !== undefined) return inside;
  if (exported?.owner === "vmlinux") return { by: "loader", name, owner: "vmlinux", proof: "exported by vmlinux" };
  if (exported !== undefined && exported.owner !== target.name) return resolveExported(name, exported.owner, context);
  if (home !== undefined) return resolveNewElsewhere(name, home, context);
  const { visible, hidden } = linkerName(name, target);
  if (visible.length === 0 && context.externalsUnknown === true)
    return { by: "loader", name, owner: undefined, proof: "left to the module loader" };
  if (visible.length === 0 && weak)
    return { by: "loader", name, owner: undefined, proof: "weak and absent from the kernel" };
  if (visible.length > 0) return unresolved("ambiguous", name, target, visible);
  return unresolved("missing", name, target, hidden, hiddenReason(name, hidden, target));
}

/** A symbol of the object itself; undefined when nothing of it is visible, or nothing shows which is meant. */
function resolveInside(name: string, { target, proof, settled }: ResolveContext): Reach | undefined {
  const value = proof.valueOf(name);
  const address = value?.kind === "address" ? value.address : settled.get(name);
  const { visible, isOpen, hidden } = linkerName(name, target);
  // Matched code shows what the linker took, also where it made a hidden symbol local.
  const symbol = address === undefined ? undefined : [...visible, ...hidden].find((other) => other.address === address);
  if (symbol !== undefined) {
    const shown = value === undefined ? "matched in the unit that defines it" : "address read from the matched code";
    return klp(target, symbol, shown);
  }
  if (visible.length === 0 || isOpen) return undefined;
  if (address !== undefined) return unresolved("unproven", name, target, visible);
  return visible.length === 1 ? klp(target, visible[0] as TargetSymbol, theGlobalOne) : undefined;
}

/** What another module exports: a patched module that depends on the exporter holds it; else the patch module has to. */
function resolveExported(name: string, owner: string, { target }: ResolveContext): Reach {
  if (target.name === "vmlinux") {
    const reason = `the module ${owner} exports it, and the kernel itself cannot use what a module exports`;
    return unresolved("missing", name, target, [], reason);
  }
  if (target.dependsOn?.has(owner) !== true) return { by: "loader", name, owner, proof: `exported by ${owner}` };
  // The exporter may be loaded later than the patch module, together with the patched one.
  return {
    by: "klp",
    symbol: { object: owner, name, sympos: 0, offset: 0 },
    proof: `exported by ${owner}, on which ${target.name} depends`,
  };
}

/** What the patch brings in a unit of another object. */
function resolveNewElsewhere(name: string, home: string, { target, newExports }: ResolveContext): Reach {
  const isReached = home === "vmlinux" || target.dependsOn?.has(home) === true;
  if (isReached && newExports?.has(name) === true)
    return { by: "loader", name, owner: undefined, proof: `defined and exported by another unit of this patch` };
  const reason =
    target.name === "vmlinux"
      ? `the patch adds it to the module ${home}, and the kernel itself cannot use what is in a module`
      : isReached
        ? `the patch adds it to ${home} and does not export it`
        : `the patch adds it to the module ${home}, on which ${target.name} does not depend`;
  return unresolved("missing", name, target, [], reason);
}

function hiddenReason(name: string, hidden: readonly TargetSymbol[], target: TargetObject): string | undefined {
  const section = target.goneNamed?.(name);
  if (section !== undefined) return `it was in ${section}, whose memory is freed when the module has been loaded`;
  if (hidden.length === 0) return undefined;
  const places = hidden.length === 1 ? "another unit" : `${hidden.length} other units`;
  return `${name} is static in ${places} of ${target.name}, and what is static cannot be reached by its name from outside`;
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
  reason?: string,
): Reach {
  return { by: "nothing", problem: { kind, name, object: target.name, candidates, reason } };
}
