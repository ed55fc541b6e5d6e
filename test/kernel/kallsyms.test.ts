import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { UnpackedImage } from "../../src/kernel/image/image.ts";
import type { Kallsyms } from "../../src/kernel/image/kallsyms.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { LazyFile } from "../../src/kernel/image/lazy-file.ts";
import { type EncodedSymbol, encodeKallsyms, type Layout, layouts } from "./kallsyms-encoder.ts";
import {
  type ElfSection,
  exportForms,
  exportSections,
  rodataAddress,
  sampleSymbols,
  tablesOffset,
  textAddress,
  tinyKernel,
} from "./tiny-kernel.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-kallsyms-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

let images = 0;
function imageOf(file: Buffer, folder = join(root, `image${images++}`)): KernelImage {
  const unpacked: UnpackedImage = { path: "vmlinux", file: LazyFile.of(file), sha256: "", folder };
  return new KernelImage(unpacked);
}

function dump(kallsyms: Kallsyms): EncodedSymbol[] {
  return Array.from({ length: kallsyms.count }, (_, index) => ({
    address: kallsyms.addressOf(index),
    type: kallsyms.typeOf(index),
    name: kallsyms.nameOf(index),
  }));
}

/** Layouts without absolute percpu hold kernels whose per-CPU symbols are ordinary ones. */
function symbolsFor(layout: Layout): EncodedSymbol[] {
  return sampleSymbols(1500, layout.encoding === "absolute percpu" || layout.encoding === "absolute");
}

describe.each(Object.entries(layouts))("layout of %s", (_, layout) => {
  test("every symbol comes back", () => {
    const symbols = symbolsFor(layout);
    expect(dump(imageOf(tinyKernel(symbols, layout)).kallsyms())).toEqual(symbols);
  });

  test("the cached form is the same", async () => {
    const file = tinyKernel(symbolsFor(layout), layout);
    const folder = join(root, `cached${images++}`);
    const first = dump(imageOf(file, folder).kallsyms());
    expect(await readdir(folder)).toEqual(["kallsyms.bin"]);
    // Without its tables the image cannot be decoded again: what comes now comes from the cache.
    const blank = Buffer.from(file);
    blank.fill(0, file.indexOf("Linux version") + tablesOffset, file.indexOf("something else"));
    expect(dump(imageOf(blank, folder).kallsyms())).toEqual(first);
    expect(imageOf(blank, folder).kallsyms().indicesOf("t_show").length).toBeGreaterThan(10);
  });
});

describe("lookups", () => {
  const symbols = sampleSymbols();
  const kallsyms = (): Kallsyms => imageOf(tinyKernel(symbols)).kallsyms();

  test("a name gives all its symbols in address order", () => {
    const table = kallsyms();
    const expected = symbols.flatMap(({ name }, index) => (name === "t_show" ? [index] : []));
    expect(expected.length).toBe(15);
    expect(table.indicesOf("t_show")).toEqual(expected);
    expect(table.indicesOf("t_sho")).toEqual([]);
    expect(table.indicesOf("")).toEqual([]);
  });

  test("an address gives its aliases", () => {
    const table = kallsyms();
    expect(table.symbolsAt(textAddress).map((index) => table.nameOf(index))).toEqual(["_text", "_stext"]);
    expect(table.symbolsAt(textAddress + 1)).toEqual([]);
  });

  test("an address inside a function gives the function, and sizes reach to the next address", () => {
    const table = kallsyms();
    const [show] = table.indicesOf("t_show") as [number];
    const start = table.addressOf(show);
    expect(table.containing(start)).toBe(show);
    expect(table.containing(start + 15)).toBe(show);
    expect(table.containing(start + 16)).toBe(show + 1);
    expect(table.sizeOf(show)).toBe(16);
    // Aliases share a size, and the first of them is found.
    const [text] = table.indicesOf("_text") as [number];
    expect(table.sizeOf(text)).toBe(0x40);
    expect(table.containing(textAddress + 0x3f)).toBe(text);
  });

  test("nothing contains what is outside the table", () => {
    const table = kallsyms();
    expect(table.containing(rodataAddress + 0x180)).toBe(table.count - 1);
    expect(table.containing(rodataAddress + 0x181)).toBeUndefined();
    expect(table.sizeOf(table.count - 1)).toBe(0);
    expect(() => table.nameOf(table.count)).toThrow(RangeError);
  });

  test("per-CPU offsets come before kernel text", () => {
    const table = kallsyms();
    expect(table.containing(0x10)).toBe(0);
    expect(table.containing(0x20)).toBe(1);
  });
});

test("random symbols survive the way through the tables", () => {
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_.$]{0,150}$/);
  const row = fc.record({
    name,
    type: fc.constantFrom("t", "T", "d", "B", "V"),
    gap: fc.integer({ min: 0, max: 5000 }),
  });
  const rows = fc.array(row, { minLength: 300, maxLength: 600 });
  fc.assert(
    fc.property(rows, fc.constantFrom(...Object.values(layouts)), (list, layout) => {
      let address = textAddress;
      const symbols: EncodedSymbol[] = [{ address, type: "T", name: "_text" }];
      for (const { name: text, type, gap } of list) {
        address += gap;
        if (text !== "linux_banner" && text !== "_text" && text !== "_stext")
          symbols.push({ address, type, name: text });
      }
      const table = imageOf(tinyKernel(symbols, layout)).kallsyms();
      expect(dump(table)).toEqual(symbols);
      for (const { name: text } of symbols.slice(0, 20)) {
        expect(table.indicesOf(text).map((index) => table.nameOf(index))).toContain(text);
      }
    }),
    { numRuns: 40 },
  );
});

function codeOf(image: KernelImage): unknown {
  try {
    return image.kallsyms().count;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("what the image says elsewhere", () => {
  const symbols = sampleSymbols();
  const exported = symbols.filter(({ type, address }) => type === "T" || address >= 0);

  test.each(exportForms)("exports in entries of $size bytes", (form) => {
    const imageWith = (list: readonly EncodedSymbol[]): KernelImage =>
      imageOf(tinyKernel(symbols, layouts["6.4, absolute percpu"], exportSections(list, form)));
    expect(dump(imageWith(exported).kallsyms())).toEqual(symbols);
    const [first, ...others] = exported as [EncodedSymbol, ...EncodedSymbol[]];
    expect(codeOf(imageWith([...others, { ...first, address: textAddress + 0x48 }]))).toBe("KALLSYMS_DAMAGED");
    expect(codeOf(imageWith([...others, { ...first, name: "not_in_the_table" }]))).toBe("KALLSYMS_DAMAGED");
  });

  test("exports in a form that is not known are left alone", () => {
    const [table, names] = exportSections(exported, exportForms[0]) as [ElfSection, ElfSection];
    table.data.fill(0x11);
    const file = tinyKernel(symbols, layouts["6.4, absolute percpu"], [table, names]);
    expect(imageOf(file).kallsyms().count).toBe(symbols.length);
  });

  test.each(["6.2, absolute percpu", "6.4, absolute", "7.0, from their place"])(
    "the order of the names in %s",
    (name) => {
      const layout = layouts[name] as Layout;
      const list = symbolsFor(layout);
      const tables = encodeKallsyms(list, layout, rodataAddress + tablesOffset);
      // The numbers of two neighbours in the order of names, exchanged.
      const order = list.map((_, index) => index).sort((a, b) => compareNames(list, a, b));
      const place = tables.indexOf(Buffer.from(order.slice(0, 8).flatMap(threeBytes)));
      expect(place).toBeGreaterThan(0);
      for (const bytes of [[...threeBytes(order[1] ?? 0), ...threeBytes(order[0] ?? 0)], threeBytes(order[1] ?? 0)]) {
        const file = tinyKernel(list, layout);
        file.set(bytes, file.indexOf(tables) + place);
        expect(codeOf(imageOf(file))).toBe("KALLSYMS_DAMAGED");
      }
    },
  );
});

function threeBytes(value: number): number[] {
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

function compareNames(symbols: readonly EncodedSymbol[], a: number, b: number): number {
  const [left, right] = [symbols[a]?.name ?? "", symbols[b]?.name ?? ""];
  return left === right ? a - b : left < right ? -1 : 1;
}

/**
 * Damage is found, or stays where it is: as many symbols as bytes were changed may have a wrong name or address, since nothing else in an image tells
 * those of a symbol that is not exported, but no symbol gets those of another.
 */
test.each(Object.entries(layouts))("mutated tables of %s", (_, layout) => {
  const symbols = symbolsFor(layout);
  const exported = symbols.filter(({ type }) => type === "T" || type === "t");
  const file = tinyKernel(symbols, layout, exportSections(exported, exportForms[0]));
  const tables = encodeKallsyms(symbols, layout, rodataAddress + tablesOffset);
  const start = file.indexOf(tables);
  const mutation = fc.record({
    at: fc.nat(tables.length - 1),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 3 }),
  });
  let refused = 0;
  let runs = 0;
  fc.assert(
    fc.property(mutation, ({ at, bytes }) => {
      const mutated = Buffer.from(file);
      mutated.set(bytes.subarray(0, tables.length - at), start + at);
      runs++;
      let found: EncodedSymbol[];
      try {
        found = dump(imageOf(mutated).kallsyms());
      } catch (error) {
        expect((error as { code: string }).code).toMatch(/^KALLSYMS_(DAMAGED|MISSING)$/);
        refused++;
        return;
      }
      expect(found.length).toBe(symbols.length);
      const wrong = symbols.filter(
        ({ name, address }, index) => found[index]?.name !== name || found[index]?.address !== address,
      );
      expect(wrong.length).toBeLessThanOrEqual(bytes.length);
    }),
    { numRuns: 80 },
  );
  expect(refused).toBeGreaterThan(runs / 4);
});

describe("damage", () => {
  const symbols = sampleSymbols();
  const layout = layouts["6.2, absolute percpu"] as Layout;
  const damaged = (change: (tables: Buffer) => void): KernelImage => {
    const file = tinyKernel(symbols, layout);
    const tables = encodeKallsyms(symbols, layout, rodataAddress + tablesOffset);
    const start = file.indexOf(tables);
    expect(start).toBeGreaterThan(0);
    change(file.subarray(start, start + tables.length));
    return imageOf(file);
  };
  const offsetsEnd = 4 * symbols.length;

  test("a symbol table that is not there", () => {
    expect(codeOf(damaged((tables) => tables.fill(0)))).toBe("KALLSYMS_MISSING");
  });

  test("a name that runs over its marker", () => {
    expect(codeOf(damaged((tables) => tables.writeUInt8(99, Math.ceil(offsetsEnd / 8) * 8 + 16)))).toBe(
      "KALLSYMS_DAMAGED",
    );
  });

  test("an address out of order", () => {
    expect(codeOf(damaged((tables) => tables.writeInt32LE(-5, 4 * 700)))).toBe("KALLSYMS_DAMAGED");
  });

  test("a wrong base", () => {
    const wrong = (tables: Buffer): unknown =>
      tables.writeBigInt64LE(BigInt(textAddress - 0x10000000), Math.ceil(offsetsEnd / 8) * 8);
    expect(codeOf(damaged(wrong))).toBe("KALLSYMS_DAMAGED");
  });

  test("a truncated image", () => {
    const file = tinyKernel(symbols, layout);
    expect(() => imageOf(file.subarray(0, file.length - 400))).toThrow(/malformed ELF/);
  });

  test("a damaged cache file is made anew", async () => {
    const folder = join(root, "broken-cache");
    const file = tinyKernel(symbols, layout);
    const count = imageOf(file, folder).kallsyms().count;
    const cached = join(folder, "kallsyms.bin");
    const { size } = await stat(cached);
    await truncate(cached, size - 1);
    expect(imageOf(file, folder).kallsyms().count).toBe(count);
    expect((await stat(cached)).size).toBe(size);
    const content = await readFile(cached);
    content[content.length - 7] = (content[content.length - 7] as number) ^ 1;
    await writeFile(cached, content);
    expect(imageOf(file, folder).kallsyms().count).toBe(count);
    expect(dump(imageOf(file, folder).kallsyms())).toEqual(symbols);
    await writeFile(cached, "kmendks0");
    expect(imageOf(file, folder).kallsyms().count).toBe(count);
  });
});
