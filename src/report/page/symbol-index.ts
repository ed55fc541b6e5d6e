import type { Confirmation } from "../../match/comparison-record.ts";
import type { ReviewReport } from "../report-types.ts";

/** A name that code refers to. */
export interface IndexedName {
  /** Anchor in the page. */
  readonly id: string;
  readonly name: string;
  /** Each of these lists has more than one member where several units have something of this name. */
  readonly objects: readonly string[];
  readonly addresses: readonly string[];
  /** How the build knows what it is; none for what the module itself has. */
  readonly proofs: readonly string[];
  readonly usedBy: readonly string[];
}

/** How a masked place was confirmed, for a person. */
export const confirmations: Readonly<Record<Confirmation, string>> = {
  symbol: "the kernel's symbol table has this name at this address",
  relocation: "the shipped module's own relocation names it",
  content: "the bytes there are those of this constant",
  number: "the same number",
  self: "the same place of the function itself",
  repeated: "all matched code of the unit shows this address for it, and the symbol table lists nothing there",
};

/** Names from which on a page has no index of them. */
const mostNames = 1500;

/** All names in the code of the page, each with an anchor; none where there are too many. */
export function symbolIndex({ functions, symbols }: ReviewReport): ReadonlyMap<string, IndexedName> {
  const used = new Map<string, Set<string>>();
  for (const { name, code } of functions) {
    for (const { shipped, patched } of code?.rows ?? []) {
      for (const line of [shipped, patched]) {
        for (const other of namesOf(line)) used.set(other, (used.get(other) ?? new Set()).add(name));
      }
    }
  }
  const reached = byName(symbols, ({ name }) => name);
  const shown = byName(
    functions.flatMap(({ proof }) => proof?.masked ?? []),
    ({ symbol }) => symbol,
  );
  if (used.size > mostNames) return new Map();
  const names = [...used].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(
    names.map(([name, users], index) => {
      // Static names of several units are several things: all of them are said.
      const places = shown.get(name) ?? [];
      const known = reached.get(name) ?? [];
      return [
        name,
        {
          id: `sym-${index + 1}`,
          name,
          objects: distinct(known.map((symbol) => symbol.object)),
          addresses: distinct(places.flatMap(({ address }) => address ?? [])),
          proofs: distinct(
            known.length > 0
              ? known.map(({ proof }) => proof)
              : places.map(({ confirmed }) => confirmations[confirmed]),
          ),
          usedBy: [...users].sort(),
        },
      ];
    }),
  );
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)];
}

function byName<T>(all: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const group = groups.get(nameOf(one));
    if (group === undefined) groups.set(nameOf(one), [one]);
    else group.push(one);
  }
  return groups;
}

/** Names that an instruction refers to, those in its text included. */
export function namesOf(line: { readonly text: string; readonly names: readonly string[] } | null): string[] {
  if (line === null) return [];
  const callee = /^(?:call|jmp|j[a-z]{1,3})\w*\s+([A-Za-z_.][\w.$]*)$/.exec(line.text)?.[1];
  return callee === undefined ? [...line.names] : [...line.names, callee];
}
