import type { Btf } from "../kernel/types/btf.ts";
import { BtfKind, IntEncoding } from "../kernel/types/btf-format.ts";

/** What a function returns, as far as a stop has to know it. */
export type ReturnType =
  | { readonly kind: "void" }
  | { readonly kind: "bool"; readonly text: string }
  | { readonly kind: "pointer"; readonly text: string }
  | { readonly kind: "integer"; readonly text: string; readonly bytes: number; readonly signed: boolean }
  | {
      readonly kind: "enum";
      readonly text: string;
      readonly bytes: number;
      readonly signed: boolean;
      /** Names of its values. */
      readonly names: ReadonlyMap<string, bigint>;
    }
  /** A structure, a floating-point number: not in the one register for results. */
  | { readonly kind: "other"; readonly text: string };

/** What the kernel's types say of a function. */
export interface Prototype {
  readonly returns: ReturnType;
  readonly variadic: boolean;
  /** Of each parameter, the names of the structures and typedefs that it points to, directly or through other pointers. */
  readonly parameters: readonly ReadonlySet<string>[];
  /** Whether its first parameter is a `void *`. */
  readonly takesPlainPointer: boolean;
  /** Whether BPF programs may call it: the tag `bpf_kfunc` that pahole 1.26 and later writes (Documentation/bpf/kfuncs.rst). */
  readonly isKfunc: boolean;
}

/**
 * Prototypes of all functions of a name, those of equal result once, with what any of them points to; none where the types do not have it.
 * @param types of the kernel, or of a module on top of them.
 */
export function prototypesOf(types: Btf, name: string): readonly Prototype[] {
  const found = new Map<string, Prototype>();
  for (const func of types.find(BtfKind.func, name)) {
    const prototype = types.target(func);
    if (types.kind(prototype) !== BtfKind.funcProto) continue;
    const returns = returnTypeOf(types, types.target(prototype));
    const variadic = types.parameters(prototype).some(({ name: parameter, type }) => parameter === "" && type === 0);
    const key = JSON.stringify([returns.kind, "text" in returns ? returns.text : "", variadic]);
    const same = found.get(key);
    const own = types.parameters(prototype).map(({ type }) => pointedTo(types, type));
    const parameters = Array.from({ length: Math.max(own.length, same?.parameters.length ?? 0) }, (_, at) => {
      return new Set([...(own[at] ?? []), ...(same?.parameters[at] ?? [])]);
    });
    const [first] = types.parameters(prototype);
    const pointer = first === undefined ? 0 : types.resolve(first.type);
    const isPlain = types.kind(pointer) === BtfKind.ptr && types.resolve(types.target(pointer)) === 0;
    found.set(key, {
      ...{ returns, variadic, parameters },
      takesPlainPointer: isPlain || same?.takesPlainPointer === true,
      isKfunc: kfuncs(types).has(func) || same?.isKfunc === true,
    });
  }
  return [...found.values()];
}

function pointedTo(types: Btf, type: number): Set<string> {
  const names = new Set<string>();
  let isPointedTo = false;
  for (let at = type; at !== 0; at = types.target(at)) {
    const kind = types.kind(at);
    if (isPointedTo && named.has(kind)) names.add(types.name(at));
    if (kind === BtfKind.ptr) isPointedTo = true;
    else if (!passed.has(kind)) break;
  }
  return names;
}

const named: ReadonlySet<BtfKind> = new Set([BtfKind.typedef, BtfKind.struct, BtfKind.union, BtfKind.fwd]);

const passed: ReadonlySet<BtfKind> = new Set([
  ...[BtfKind.typedef, BtfKind.const, BtfKind.volatile, BtfKind.restrict, BtfKind.typeTag],
]);

const knownKfuncs = new WeakMap<Btf, ReadonlySet<number>>();

/** Numbers of the functions with the tag of kfuncs. */
function kfuncs(types: Btf): ReadonlySet<number> {
  const known = knownKfuncs.get(types);
  if (known !== undefined) return known;
  const found = new Set(types.find(BtfKind.declTag, "bpf_kfunc").map((tag) => types.target(tag)));
  knownKfuncs.set(types, found);
  return found;
}

function returnTypeOf(types: Btf, type: number): ReturnType {
  const resolved = types.resolve(type);
  const text = textOf(types, type);
  switch (types.kind(resolved)) {
    case BtfKind.void:
      return { kind: "void" };
    case BtfKind.ptr:
      return { kind: "pointer", text };
    case BtfKind.int: {
      const bytes = types.size(resolved);
      const { encoding } = types.int(resolved);
      if ((encoding & IntEncoding.bool) !== 0) return { kind: "bool", text };
      // __int128 comes in two registers.
      return bytes > 8
        ? { kind: "other", text }
        : { kind: "integer", text, bytes, signed: (encoding & IntEncoding.signed) !== 0 };
    }
    case BtfKind.enum:
    case BtfKind.enum64: {
      const values = types.enumerators(resolved);
      const names = new Map(values.map(({ name, value }) => [name, value] as const));
      return { kind: "enum", text, bytes: types.size(resolved), signed: types.flag(resolved), names };
    }
    default:
      return { kind: "other", text };
  }
}

/** A prototype as C would write it, without the names of parameters: those of functions have names, and those that pointers lead to have none. */
export function prototypeText(types: Btf, prototype: number): string {
  const parameters = types.parameters(prototype).map(({ type }) => (type === 0 ? "..." : textOf(types, type)));
  return `${textOf(types, types.target(prototype))} (${parameters.join(", ")})`;
}

/** A type as C would write it, for messages. */
function textOf(types: Btf, type: number): string {
  const kind = types.kind(type);
  const name = types.name(type);
  if (kind === BtfKind.ptr) return `${textOf(types, types.target(type))} *`;
  if (kind === BtfKind.const) return `const ${textOf(types, types.target(type))}`;
  if (kind === BtfKind.volatile) return `volatile ${textOf(types, types.target(type))}`;
  if (kind === BtfKind.typeTag || kind === BtfKind.restrict) return textOf(types, types.target(type));
  if (kind === BtfKind.funcProto) return "function";
  const words: Readonly<Record<number, string>> = {
    [BtfKind.struct]: "struct ",
    [BtfKind.union]: "union ",
    [BtfKind.enum]: "enum ",
    [BtfKind.enum64]: "enum ",
    [BtfKind.fwd]: "struct ",
  };
  return `${words[kind] ?? ""}${name || "(unnamed)"}`;
}
