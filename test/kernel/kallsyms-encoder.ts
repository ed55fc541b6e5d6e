/** A symbol as nm(1) would print it. */
export interface EncodedSymbol {
  readonly address: number;
  readonly type: string;
  readonly name: string;
}

/** How a kernel version lays out its tables. */
export interface Layout {
  readonly encoding: "absolute" | "from a base" | "absolute percpu" | "from their place";
  readonly place: "before" | "after";
  readonly sequences: "none" | "before the tokens" | "last";
  readonly markerSize: 4 | 8;
  readonly alignment: 4 | 8;
}

/** One row per change of scripts/kallsyms.c since Linux 4.4. */
export const layouts: Readonly<Record<string, Layout>> = {
  "4.4, absolute": {
    encoding: "absolute",
    place: "before",
    sequences: "none",
    markerSize: 8,
    alignment: 8,
  },
  "4.6, from a base": {
    encoding: "from a base",
    place: "before",
    sequences: "none",
    markerSize: 8,
    alignment: 8,
  },
  "4.6, absolute percpu": {
    encoding: "absolute percpu",
    place: "before",
    sequences: "none",
    markerSize: 8,
    alignment: 8,
  },
  "5.0, absolute percpu": {
    encoding: "absolute percpu",
    place: "before",
    sequences: "none",
    markerSize: 4,
    alignment: 8,
  },
  "6.2, absolute percpu": {
    encoding: "absolute percpu",
    place: "before",
    sequences: "before the tokens",
    markerSize: 4,
    alignment: 8,
  },
  "6.4, absolute": {
    encoding: "absolute",
    place: "after",
    sequences: "last",
    markerSize: 4,
    alignment: 8,
  },
  "6.4, absolute percpu": {
    encoding: "absolute percpu",
    place: "after",
    sequences: "last",
    markerSize: 4,
    alignment: 8,
  },
  "6.15, from a base": {
    encoding: "from a base",
    place: "after",
    sequences: "last",
    markerSize: 4,
    alignment: 8,
  },
  "7.0, from their place": {
    encoding: "from their place",
    place: "after",
    sequences: "last",
    markerSize: 4,
    alignment: 4,
  },
};

/** Texts that are compressed. Each is put together character by character, so that every token is two others, as those of scripts/kallsyms.c are. */
const words = ["_show", "init_", "sys_", "tcp_", "_probe", "get_", "__pfx_", "ext4_"];
const characters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.$?";

/** Tokens are in the numbers that no character of a symbol name uses. */
function tokenTable(): string[] {
  const joined = new Set(words.flatMap((word) => Array.from(word.slice(1), (_, index) => word.slice(0, index + 2))));
  const free = Array.from({ length: 256 }, (_, code) => code).filter(
    (code) => !characters.includes(String.fromCharCode(code)),
  );
  const tokens = Array.from({ length: 256 }, (_, code) =>
    characters.includes(String.fromCharCode(code)) ? String.fromCharCode(code) : "",
  );
  for (const [index, word] of [...joined].entries()) tokens[free[index] as number] = word;
  return tokens;
}

function compress(text: string, tokens: readonly string[]): number[] {
  const codes: number[] = [];
  for (let at = 0; at < text.length; ) {
    const word = words.find((candidate) => text.startsWith(candidate, at));
    const token = word ?? (text[at] as string);
    codes.push(tokens.indexOf(token));
    at += token.length;
  }
  return codes;
}

/**
 * Makes the tables that scripts/kallsyms.c would write for the symbols, which must be in the order of their unsigned addresses.
 * @param address of the first byte of the result, a multiple of 8.
 */
export function encodeKallsyms(symbols: readonly EncodedSymbol[], layout: Layout, address: number): Buffer {
  const tokens = tokenTable();
  let out = Buffer.alloc(0);
  const append = (bytes: Buffer): void => {
    out = Buffer.concat([out, bytes]);
  };
  const table = (bytes: Buffer): void => {
    append(Buffer.alloc((layout.alignment - (out.length % layout.alignment)) % layout.alignment));
    append(bytes);
  };
  const addresses = (): void => encodeAddresses(symbols, layout, address, table, () => out.length);
  const sequences = (): void => {
    const order = symbols.map((_, index) => index);
    order.sort((a, b) => ((symbols[a] as EncodedSymbol).name < (symbols[b] as EncodedSymbol).name ? -1 : 1));
    table(Buffer.from(order.flatMap((index) => [(index >> 16) & 255, (index >> 8) & 255, index & 255])));
  };

  if (layout.place === "before") addresses();
  const count = Buffer.alloc(layout.markerSize);
  count.writeUInt32LE(symbols.length);
  table(count);

  const names: number[] = [];
  const markers: number[] = [];
  for (const [index, { type, name }] of symbols.entries()) {
    if (index % 256 === 0) markers.push(names.length);
    const codes = compress(type + name, tokens);
    if (codes.length > 0x7f) names.push((codes.length & 0x7f) | 0x80, codes.length >> 7);
    else names.push(codes.length);
    names.push(...codes);
  }
  table(Buffer.from(names));
  const markerTable = Buffer.alloc(markers.length * layout.markerSize);
  for (const [index, marker] of markers.entries()) markerTable.writeUInt32LE(marker, index * layout.markerSize);
  table(markerTable);
  if (layout.sequences === "before the tokens") sequences();

  const index = Buffer.alloc(512);
  let length = 0;
  for (const [token, text] of tokens.entries()) {
    index.writeUInt16LE(length, 2 * token);
    length += text.length + 1;
  }
  table(Buffer.from(tokens.map((token) => `${token}\0`).join(""), "latin1"));
  table(index);
  if (layout.place === "after") addresses();
  if (layout.sequences === "last") sequences();
  return out;
}

function encodeAddresses(
  symbols: readonly EncodedSymbol[],
  layout: Layout,
  address: number,
  table: (bytes: Buffer) => void,
  used: () => number,
): void {
  if (layout.encoding === "absolute") {
    const entries = Buffer.alloc(8 * symbols.length);
    for (const [index, symbol] of symbols.entries()) entries.writeBigInt64LE(BigInt(symbol.address), 8 * index);
    table(entries);
    return;
  }
  const relative = layout.encoding === "absolute percpu" ? symbols.filter((symbol) => symbol.address < 0) : symbols;
  const base = Math.min(...relative.map((symbol) => symbol.address));
  const entries = Buffer.alloc(4 * symbols.length);
  const start = address + Math.ceil(used() / layout.alignment) * layout.alignment;
  for (const [index, symbol] of symbols.entries()) {
    if (layout.encoding === "from their place") {
      entries.writeInt32LE(symbol.address - (start + 4 * index), 4 * index);
    } else if (layout.encoding === "from a base") {
      entries.writeUInt32LE(symbol.address - base, 4 * index);
    } else {
      entries.writeInt32LE(symbol.address >= 0 ? symbol.address : base - 1 - symbol.address, 4 * index);
    }
  }
  table(entries);
  if (layout.encoding === "from their place") return;
  const baseEntry = Buffer.alloc(8);
  baseEntry.writeBigInt64LE(BigInt(base));
  table(baseEntry);
}
