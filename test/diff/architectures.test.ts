import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { DiffResult } from "../../src/build/compare-objects.ts";
import { diffObjects } from "../../src/build/diff-objects.ts";
import { draftOf, draftSection, draftSymbol } from "../../src/elf/builder.ts";
import type { Section } from "../../src/elf/model.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { dumpObject } from "../fixtures/arch/dump.ts";
import { compileFor, type Machine, machines, relink, toolchain } from "../fixtures/arch/machines.ts";

const goldenFolder = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures", "arch", "extracts");

/** The result of `kmend diff` on two objects, and the extract when one was written. */
async function diffFiles(
  original: Uint8Array,
  patched: Uint8Array,
  write = true,
): Promise<{ result: DiffResult; extract?: ElfReader; file?: Uint8Array }> {
  const folder = mkdtempSync(join(tmpdir(), "kmend-arch-"));
  try {
    const [before, after, output] = ["a.o", "b.o", "out.o"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(before, original);
    writeFileSync(after, patched);
    const result = await diffObjects({ original: before, patched: after, ...(write ? { output } : {}) });
    if (!existsSync(output)) return { result };
    const file = readFileSync(output);
    return { result, extract: new ElfReader(file), file };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function section(elf: ElfReader, name: string): Section {
  const found = elf.section(name);
  if (found === undefined) throw new Error(`no section ${name}`);
  return found;
}

/** Bytes of a function, and its relocations as `+place type name`. */
function codeOf(elf: ElfReader, name: string): { bytes: string; types: string[] } {
  const symbol = elf.symbols.find((candidate) => candidate.name === name && candidate.type === 2);
  const home = elf.sections[symbol?.section ?? 0];
  if (symbol === undefined || home === undefined) throw new Error(`no function ${name}`);
  const end = symbol.value + symbol.size;
  const inside = elf.relocationsFor(home.index).filter(({ offset }) => offset >= symbol.value && offset < end);
  return {
    bytes: Buffer.from(home.data.subarray(symbol.value, end)).toString("hex"),
    types: inside.map(({ offset, type }) => `${offset - symbol.value} ${type}`),
  };
}

/** Where each relocation of a table leads, as `function+offset`. */
function placesOf(elf: ElfReader, table: string): string[] {
  return elf.relocationsFor(section(elf, table).index).map((relocation) => {
    const symbol = elf.symbols[relocation.symbol];
    const at = (symbol?.value ?? 0) + relocation.addend;
    const home = elf.symbols.findLast(
      ({ section: index, type, value, size }) =>
        index === symbol?.section && type === 2 && value - 8 <= at && at < value + size,
    );
    return home === undefined ? `${elf.sections[symbol?.section ?? 0]?.name}+${at}` : `${home.name}+${at - home.value}`;
  });
}

const carrying: readonly Machine[] = [
  machines.aarch64,
  machines.aarch64be,
  machines.ppc64leFar,
  machines.s390x,
  machines.loongarch64,
];

describe.each(carrying)("$name", (machine) => {
  const installed = toolchain(machine);

  test.skipIf(installed === undefined)(
    "the changed functions are carried with their table entries and nothing else",
    async () => {
      const [original, patched] = [compileFor(machine), compileFor(machine, ["-DPATCHED"])];
      const { result, extract, file } = await diffFiles(original, patched);
      expect(result.refusals).toEqual([]);
      expect(result.outcome).toBe("changed");
      expect(result.changedFunctions.map(({ name }) => name).sort()).toEqual(["changed", "sleep_twice"]);
      expect(result.newFunctions).toEqual(["fresh"]);
      expect(result.newData).toEqual(["fresh_state"]);
      if (extract === undefined || file === undefined) throw new Error("no extract");
      const source = new ElfReader(patched);
      expect(extract.littleEndian).toBe(source.littleEndian);
      expect(extract.header).toMatchObject({ machine: source.header.machine, flags: source.header.flags, type: 1 });

      // Code is carried byte for byte; each of its relocations is one of the extract or a livepatch relocation.
      const text = section(extract, ".text");
      for (const name of ["changed", "sleep_twice", "fresh"]) {
        const [ours, theirs] = [codeOf(extract, name), codeOf(source, name)];
        expect(ours.bytes).toBe(theirs.bytes);
        const start = extract.symbols.find((symbol) => symbol.name === name)?.value ?? 0;
        const size = ours.bytes.length / 2;
        const klp = result.klpRelocations
          .filter(({ section: home, offset }) => home === text.name && offset >= start && offset < start + size)
          .map(({ offset, type }) => `${offset - start} ${type}`);
        expect([...ours.types, ...klp].sort()).toEqual([...theirs.types].sort());
      }
      const own = (name: string): unknown => {
        const { size, type, other } = extract.symbols.find((symbol) => symbol.name === name && symbol.type === 2) ?? {};
        return { size, type, other };
      };
      const theirs = (name: string): unknown => {
        const { size, type, other } = source.symbols.find((symbol) => symbol.name === name && symbol.type === 2) ?? {};
        return { size, type, other };
      };
      for (const name of ["changed", "sleep_twice", "fresh"]) expect(own(name)).toEqual(theirs(name));

      // One entry of each table, its bytes, and its place in the code.
      const placeOfBug = placesOf(source, "__bug_table").filter((place) => place.startsWith("changed+"));
      expect(placesOf(extract, "__bug_table")).toEqual(placeOfBug);
      expect(Buffer.from(section(extract, "__bug_table").data)).toEqual(
        Buffer.from(section(source, "__bug_table").data.subarray(0, 8)),
      );
      expect(placesOf(extract, "__ex_table")).toEqual(placesOf(source, "__ex_table"));
      expect(placesOf(extract, ".altinstructions")).toEqual(placesOf(source, ".altinstructions"));
      expect(Buffer.from(section(extract, ".altinstr_replacement").data)).toEqual(
        Buffer.from(section(source, ".altinstr_replacement").data),
      );
      if (machine.ftraceTable !== undefined) {
        const entries = placesOf(extract, machine.ftraceTable);
        expect(entries.map((place) => place.split("+")[0])).toEqual(["changed", "sleep_twice", "fresh"]);
        expect(section(extract, machine.ftraceTable).size).toBe(24);
        // No section is linked to another: all code is in .text.
        expect(section(extract, machine.ftraceTable).flags & 0x80).toBe(0);
      }
      expect(result.patched.map(({ name }) => name).sort()).toEqual(["changed", "sleep_twice"]);
      // What stays in the kernel is reached by name, and the other half of the table of handlers is not carried.
      expect(new Set(result.klpRelocations.map(({ symbol }) => symbol))).toContain("helper");
      expect(extract.section(".rodata.handlers")).toBeUndefined();
      expect(extract.symbols.some(({ name }) => name === "unchanged" || name === "through")).toBe(false);
      if (machine.linker !== undefined) relink(machine.linker, file);
    },
  );

  test.skipIf(installed === undefined)("the extract is the one that was looked at", async ({ skip }) => {
    const { file } = await diffFiles(compileFor(machine), compileFor(machine, ["-DPATCHED"]));
    const path = join(goldenFolder, `${machine.name}.txt`);
    const text = `${installed}\n\n${dumpObject(file as Uint8Array)}`;
    const known = existsSync(path) ? readFileSync(path, "utf8") : "";
    // Another version of the compiler makes other code; what must hold of that is tested above.
    if (known !== "" && known.split("\n")[0] !== installed) skip(`the dump is of ${known.split("\n")[0]}`);
    await expect(text).toMatchFileSnapshot(path);
  });
});

const all: readonly Machine[] = Object.values(machines);

describe.each(all)("objects of $name", (machine) => {
  const isMissing = toolchain(machine) === undefined;

  test.skipIf(isMissing)("are written as they were read", () => {
    for (const flags of [[], ["-g"], ["-DPATCHED"]]) {
      const object = compileFor(machine, flags);
      expect(Buffer.compare(writeObject(draftOf(new ElfReader(object))), object)).toBe(0);
    }
  });

  test.skipIf(isMissing)("have no difference from themselves", async () => {
    const object = compileFor(machine, ["-g"]);
    const { result } = await diffFiles(object, object, false);
    expect(result).toMatchObject({ outcome: "unchanged", changedFunctions: [], newFunctions: [], refusals: [] });
  });
});

test.skipIf(toolchain(machines.loongarch64) === undefined)(
  "one table may hold the names of symbols and of sections",
  () => {
    const draft = draftOf(new ElfReader(compileFor(machines.loongarch64)));
    expect(draft.nameTable).toBe(draft.stringTable);
    const added = draftSection({ name: ".text.added", type: 1, data: new Uint8Array(4) });
    draft.sections.push(added);
    draft.symbols.push(draftSymbol({ name: "added", section: added }));
    const elf = new ElfReader(writeObject(draft));
    expect(elf.section(".text.added")?.size).toBe(4);
    expect(elf.symbols.find(({ name }) => name === "added")?.section).toBe(elf.section(".text.added")?.index);
  },
);

test.skipIf(toolchain(machines.ppc64le) === undefined)(
  "a carried function is called by its symbol, which has the local entry (PowerPC)",
  async () => {
    const { extract } = await diffFiles(
      compileFor(machines.ppc64leFar),
      compileFor(machines.ppc64leFar, ["-DPATCHED"]),
    );
    const fresh = extract?.symbols.find(({ name }) => name === "fresh");
    const text = extract?.section(".text");
    if (extract === undefined || fresh === undefined || text === undefined) throw new Error("no extract");
    const calls = extract
      .relocationsFor(text.index)
      .filter(({ type, offset }) => type === 10 && offset > fresh.value && offset < fresh.value + fresh.size);
    const called = calls.map(({ symbol, addend }) => ({ ...extract.symbols[symbol], addend }));
    expect(called.map(({ name, addend }) => [name, addend])).toEqual([
      ["_mcount", 0],
      ["changed", 0],
    ]);
    expect(called[1]?.other).toBe(0x60);
    // Addresses are in the TOC, one entry for each.
    const toc = extract.section(".toc");
    const names = extract.relocationsFor(toc?.index as never).map(({ symbol }) => extract.symbols[symbol]?.name);
    expect(names).toContain("outside_state");
    // The one of visible_state, which the kernel keeps, is a livepatch relocation.
    expect(toc).toMatchObject({ flags: 3, size: 8 * (names.length + 1) });
  },
);

test.skipIf(toolchain(machines.ppc64le) === undefined)(
  "calls that nothing can lead back from are refused (PowerPC)",
  async () => {
    const { result } = await diffFiles(
      compileFor(machines.ppc64le),
      compileFor(machines.ppc64le, ["-DPATCHED"]),
      false,
    );
    expect(result.outcome).toBe("refused");
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toContain("FAR_REFERENCE changed");
    expect(result.refusals.find(({ what }) => what === "changed")?.why).toContain("helper");
  },
);

/** Three functions with a feature fixup each, as <asm/feature-fixups.h> makes them: four distances from the start of the entry. */
const fixups = (change: number): string => String.raw`
#define FIXUP(bit, other)                                                                              \
  asm volatile("97: nop\n98:\n.pushsection __ftr_alt_97,\"ax\"\n.align 2\n99: " other "\n100:\n.popsection\n"  \
               ".pushsection __ftr_fixup,\"a\"\n.align 3\n101:\n.8byte " #bit "\n.8byte " #bit "\n"      \
               ".8byte 97b-101b\n.8byte 98b-101b\n.8byte 99b-101b\n.8byte 100b-101b\n.popsection\n"      \
               "102: lwsync\n.pushsection __lwsync_fixup,\"a\"\n.align 3\n103: .8byte 102b-103b\n.popsection")
extern int outside(int);
int first(int x) { FIXUP(1, "sync"); return outside(x) + 1; }
int second(int x) { FIXUP(2, "isync"); return outside(x + ${change}); }
int third(int x) { FIXUP(3, "sync"); return outside(x) + 3; }`;

test.skipIf(toolchain(machines.ppc64le) === undefined)(
  "feature fixups go with their function, and so does the other code they name (PowerPC)",
  async () => {
    const machine = machines.ppc64leFar;
    const { result, extract } = await diffFiles(compileFor(machine, [], fixups(1)), compileFor(machine, [], fixups(2)));
    expect(result.changedFunctions.map(({ name }) => name)).toEqual(["second"]);
    if (extract === undefined) throw new Error("no extract");
    const table = section(extract, "__ftr_fixup");
    expect(table.size).toBe(48);
    expect(Buffer.from(table.data.subarray(0, 16)).toString("hex")).toBe("02000000000000000200000000000000");
    expect(section(extract, "__lwsync_fixup").size).toBe(8);
    const other = section(extract, "__ftr_alt_97");
    const [start, end] = extract
      .relocationsFor(table.index)
      .slice(2)
      .map(({ addend, offset }) => addend - offset);
    // isync is 4c 00 01 2c. Its end is the start of the third's, which therefore comes along; the first's does not.
    expect(Buffer.from(other.data.subarray(start, end)).toString("hex")).toBe("2c01004c");
    expect(start).toBe(0);
    expect(other.size).toBe(8);
  },
);

test.skipIf(toolchain(machines.ppc64) === undefined)(
  "a symbol of a function descriptor is its code (PowerPC, ELF V1)",
  async () => {
    const object = compileFor(machines.ppc64);
    const edited = compileFor(machines.ppc64, ["-DPATCHED"]);
    const { result } = await diffFiles(object, edited, false);
    expect(result.changedFunctions.map(({ name }) => name).sort()).toEqual(["changed", "sleep_twice"]);
    expect(result.newFunctions).toEqual(["fresh"]);
    // There is no fentry call in it, and no kernel of that ABI has livepatch.
    expect(new Set(result.refusals.map(({ code }) => code))).toEqual(new Set(["NOT_TRACEABLE", "FAR_REFERENCE"]));
    await expect(diffFiles(object, edited)).rejects.toMatchObject({ code: "ARCHITECTURE" });
  },
);

test.skipIf(toolchain(machines.ppc64leFar) === undefined)(
  "variables and constants behind the table of contents are those of the functions that read them",
  async () => {
    const unit = (first: string, weight: number): string => `
      extern int take(int);
      static const int weights[4] = { 1, 2, 3, ${weight} };
      int a(int x) { static int hits; hits += x; return take(hits + ${first}) + weights[x & 3]; }
      int b(int x) { static int hits; hits -= x; return take(hits) + 2; }
      int c(int x) {
        static const void *const labels[] = { &&one, &&two };
        goto *labels[x];
        one: return take(x);
        two: return take(x + ${weight});
      }
    `;
    for (const flags of [[], ["-g"]]) {
      const build = (text: string): Uint8Array => compileFor(machines.ppc64leFar, flags, text);
      const original = build(unit("1", 4));
      const one = (await diffFiles(original, build(unit("x / 3", 4)))).result;
      expect(one.refusals).toEqual([]);
      expect(one.changedFunctions.map(({ name }) => name)).toEqual(["a"]);
      expect(one.klpRelocations.map(({ symbol }) => symbol)).toEqual([
        expect.stringMatching(/^hits\.\d$/),
        expect.stringMatching(/^weights$/),
      ]);
      const two = (await diffFiles(original, build(unit("1", 5)))).result;
      expect(two.refusals).toEqual([]);
      expect(two.changedFunctions.map(({ name }) => name).sort()).toEqual(["a", "c"]);
    }
  },
);

test.skipIf(toolchain(machines.ppc64leFar) === undefined)(
  "a sibling call out of a changed function is refused with the option that avoids it",
  async () => {
    const unit = (value: number): string => `
      extern long take(long);
      static __attribute__((noinline, noclone)) long helper(long x) { return take(x) * 3; }
      long calls(long x) { return helper(x + ${value}); }
    `;
    const flags = ["-foptimize-sibling-calls"];
    const build = (value: number): Uint8Array => compileFor(machines.ppc64leFar, flags, unit(value));
    const { result } = await diffFiles(build(1), build(2));
    expect(result.refusals).toMatchObject([{ code: "FAR_REFERENCE", what: "calls" }]);
    expect(result.refusals[0]?.why).toContain("-fno-optimize-sibling-calls");
  },
);
