import type { Confirmation } from "../../match/comparison-record.ts";
import type { ReviewReport } from "../report-types.ts";

/** A name that code refers to. */
export interface IndexedName {
  /** Anchor in the page. */
  readonly id: string;
  readonly name: string;
  readonly object: string | null;
  readonly address: string | null;
  /** How the build knows what it is; empty for what the module itself has. */
  readonly proof: string;
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
  const reached = new Map(symbols.map((symbol) => [symbol.name, symbol]));
  const shown = new Map(functions.flatMap(({ proof }) => proof?.masked ?? []).map((place) => [place.symbol, place]));
  if (used.size > mostNames) return new Map();
  const names = [...used].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(
    names.map(([name, users], index) => {
      const place = shown.get(name);
      const symbol = reached.get(name);
      return [
        name,
        {
          id: `sym-${index + 1}`,
          name,
          object: symbol?.object ?? null,
          address: place?.address ?? null,
          proof: symbol?.proof ?? (place === undefined ? "" : confirmations[place.confirmed]),
          usedBy: [...users].sort(),
        },
      ];
    }),
  );
}

/** Names that an instruction refers to, those in its text included. */
export function namesOf(line: { readonly text: string; readonly names: readonly string[] } | null): string[] {
  if (line === null) return [];
  const callee = /^(?:call|jmp|j[a-z]{1,3})\w*\s+([A-Za-z_.][\w.$]*)$/.exec(line.text)?.[1];
  return callee === undefined ? [...line.names] : [...line.names, callee];
}
