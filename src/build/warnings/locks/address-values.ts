/** Where an address comes from. */
export type Root =
  /** The value that a register had when the function was entered. */
  | { readonly kind: "entry"; readonly register: string }
  | { readonly kind: "symbol"; readonly name: string }
  | { readonly kind: "loaded"; readonly from: AddressValue }
  | { readonly kind: "result"; readonly of: string }
  | { readonly kind: "stack" }
  | { readonly kind: "number" };

/** An address in terms of what the function got: a root and a distance from it. */
export interface AddressValue {
  readonly root: Root;
  readonly offset: number;
  /** Equal for equal values. */
  readonly key: string;
  /** How many loads lead to it. */
  readonly depth: number;
}

/** All that a place may hold; undefined when that is not known. */
export type Values = ReadonlyMap<string, AddressValue> | undefined;

const mostValues = 4;
const mostLoads = 5;

/** @param offset distance from the root in bytes. */
function addressValue(root: Root, offset: number): AddressValue {
  const shown = offset === 0 ? "" : `${offset < 0 ? "-" : "+"}${Math.abs(offset).toString(16)}`;
  const depth = root.kind === "loaded" ? root.from.depth + 1 : 0;
  return { root, offset, key: `${rootKey(root)}${shown}`, depth };
}

function rootKey(root: Root): string {
  switch (root.kind) {
    case "entry":
      return `%${root.register}`;
    case "symbol":
      return root.name;
    case "loaded":
      return `[${root.from.key}]`;
    case "result":
      return `${root.of}()`;
    default:
      return `<${root.kind}>`;
  }
}

/** A place that can hold one value only. */
export function one(root: Root, offset = 0): Values {
  const value = addressValue(root, offset);
  return new Map([[value.key, value]]);
}

/** What either of two places may hold. */
export function either(first: Values, second: Values): Values {
  if (first === undefined || second === undefined) return undefined;
  if (first === second) return first;
  const all = new Map([...first, ...second]);
  return all.size > mostValues ? undefined : all;
}

function mapped(values: Values, change: (value: AddressValue) => Values): Values {
  if (values === undefined) return undefined;
  const parts = [...values.values()].map(change);
  return parts.length === 0 ? undefined : parts.reduce(either);
}

/** The values with a distance added. */
export function moved(values: Values, distance: number): Values {
  return distance === 0 ? values : mapped(values, ({ root, offset }) => one(root, offset + distance));
}

/** What memory at these addresses holds. */
export function loaded(addresses: Values): Values {
  return mapped(addresses, (from) =>
    from.depth >= mostLoads || from.root.kind === "number" || from.root.kind === "stack"
      ? undefined
      : one({ kind: "loaded", from }),
  );
}

/** The values of a called function as its caller sees them. @param entry what the registers held at the call. */
export function inCaller(values: Values, entry: (register: string) => Values): Values {
  return mapped(values, (value) => {
    const { root, offset } = value;
    if (root.kind === "entry") return moved(entry(root.register), offset);
    if (root.kind === "stack") return undefined;
    if (root.kind !== "loaded") return one(root, offset);
    return moved(loaded(inCaller(new Map([[root.from.key, root.from]]), entry)), offset);
  });
}

/** True when two places may hold the same: it is not known that they differ. */
export function mayBeEqual(first: Values, second: Values): boolean {
  if (first === undefined || second === undefined) return true;
  return [...first.keys()].some((key) => second.has(key));
}

/** For a person. @param parameters registers that hold the parameters, in order. */
export function describeValue({ root, offset }: AddressValue, parameters: readonly string[]): string {
  const distance = offset === 0 ? "" : ` ${offset < 0 ? "-" : "+"} 0x${Math.abs(offset).toString(16)}`;
  switch (root.kind) {
    case "entry": {
      const at = parameters.indexOf(root.register);
      return `${at < 0 ? root.register : `parameter ${at + 1}`}${distance}`;
    }
    case "symbol":
      return `${root.name}${distance}`;
    case "loaded":
      return `*(${describeValue(root.from, parameters)})${distance}`;
    case "result":
      return `the result of ${root.of}${distance}`;
    default:
      return root.kind === "stack" ? "a variable on the stack" : `0x${offset.toString(16)}`;
  }
}
