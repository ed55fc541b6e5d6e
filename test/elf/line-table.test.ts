import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { type CodePlace, sourceLines } from "../../src/elf/line-table.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { compileFor, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC } from "../fixtures/compile.ts";

const source = `
#line 10 "/src/include/helper.h"
static inline __attribute__((always_inline)) int twice(int x) { return x * 2 + take(x); }
#line 100 "fs/unit.c"
static int state;
int first(int x)
{
	if (x > 3)
		printk("first %d", x);
	state += twice(x);
	return take(state);
}

int second(int x)
{
	return first(x) + twice(x + 1);
}
#line 5000
__attribute__((section(".sched.text"))) int third(int x) { return take(x + 1); }
`;

/** What addr2line(1) says of each offset of a section, as `file:line`. */
function asAddr2line(object: Uint8Array, section: string, offsets: readonly number[]): (string | undefined)[] {
  const folder = mkdtempSync(join(tmpdir(), "kmend-lines-"));
  try {
    const path = join(folder, "unit.o");
    writeFileSync(path, object);
    const words = ["-e", path, "-j", section, ...offsets.map((offset) => `0x${offset.toString(16)}`)];
    const lines = execFileSync("addr2line", words, { encoding: "utf8" }).trimEnd().split("\n");
    return lines.map((line) => {
      const match = /([^/]+):(\d+)/.exec(line);
      return match === null || match[2] === "0" ? undefined : `${match[1]}:${match[2]}`;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function linesOf(object: Uint8Array, section: string): { ours: (string | undefined)[]; offsets: number[] } {
  const elf = new ElfReader(object);
  const home = elf.section(section);
  if (home === undefined) throw new Error(`no ${section}`);
  const offsets = Array.from({ length: home.size }, (_, offset) => offset);
  const found = sourceLines(
    elf,
    offsets.map((offset): CodePlace => ({ section: home.index, offset })),
  );
  return { ours: found.map((at) => (at === undefined ? undefined : `${basename(at.file)}:${at.line}`)), offsets };
}

const sections = [".text.first", ".text.second", ".sched.text"] as const;

test.each(["-gdwarf-2", "-gdwarf-3", "-gdwarf-4"])("%s: every byte has the line that addr2line gives", (flag) => {
  const object = compileC(source, [flag]);
  for (const section of sections) {
    const { ours, offsets } = linesOf(object, section);
    expect(ours).toEqual(asAddr2line(object, section, offsets));
    expect(ours).toContain(section === ".sched.text" ? "unit.c:5000" : "helper.h:10");
  }
});

// addr2line of binutils 2.40 names the wrong file of version 5, and does not read the 64-bit format.
test.each([["-gdwarf-5"], ["-gdwarf-5", "-gz=zlib"], ["-gdwarf-5", "-gdwarf64"]])(
  "%s %s: every byte has the line of version 4",
  (...flags) => {
    const object = compileC(
      source,
      flags.filter((flag) => flag !== undefined),
    );
    const model = compileC(source, ["-gdwarf-4"]);
    for (const section of sections) expect(linesOf(object, section).ours).toEqual(linesOf(model, section).ours);
  },
);

test.each(Object.values(machines))("lines are found in objects of $name", (machine) => {
  if (toolchain(machine) === undefined) return;
  const object = compileFor(machine, ["-g"], '#line 7 "seven.c"\nint f(int x) { return x + 1; }');
  const elf = new ElfReader(object);
  const entry = elf.symbols.find(({ name, type }) => name === "f" && type === 2);
  const home = elf.section(".text.f");
  const isDescribed = elf.section(".opd") !== undefined;
  // gcc gives no line to the nops that ftrace patches, so the last instruction is asked for.
  const offset = (isDescribed ? 0 : (entry?.value ?? 0)) + (entry?.size ?? 1) - 1;
  const [first] = sourceLines(elf, [{ section: home?.index as never, offset }]);
  expect(first).toMatchObject({ line: 7 });
  expect(basename(first?.file ?? "")).toBe("seven.c");
});

test("an object without line information, or with damaged one, has no lines", () => {
  expect(linesOf(compileC(source), ".text.first").ours.every((line) => line === undefined)).toBe(true);
  const whole = compileC(source, ["-g"]);
  const table = new ElfReader(whole).section(".debug_line");
  if (table === undefined) throw new Error("no line table");
  const home = new ElfReader(whole).section(".text.first");
  for (let at = 0; at < table.size; at++) {
    for (const value of [0, 0x7f, 0xff]) {
      const damaged = Uint8Array.from(whole);
      damaged[table.offset + at] = value;
      const found = sourceLines(new ElfReader(damaged), [{ section: home?.index as never, offset: 4 }]);
      expect(found).toHaveLength(1);
    }
  }
});

/** An object whose line table, of one file a.c, is written by hand. */
function withLineTable(version: number, files: readonly string[], program: readonly string[], ends = "2f"): ElfReader {
  const head = [
    ...[".pushsection .debug_line", `.long ${ends} - 1f`, `1: .value ${version}`],
    ...(version >= 5 ? [".byte 8, 0"] : []),
    ...[".long 4f - 3f", version >= 4 ? "3: .byte 1, 1, 1, -5, 14, 13" : "3: .byte 1, 1, -5, 14, 13"],
    ".byte 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1",
  ];
  const lines = [...head, ...files, "4:", ...program, ".byte 0, 1, 1", "2:", ".popsection"];
  const assembly = lines.map((line) => `"${line.replaceAll('"', '\\"')}\\n"`).join("\n");
  return new ElfReader(compileC(`asm(${assembly});\nint f(int x) { return x; }`));
}

/** Sets the address to the start of the function, makes a row, goes on, and makes the next one. */
const overEverything = [".byte 0, 9, 2", ".quad f", ".byte 1, 9", ".value 0xffff", ".byte 1"];
const oneFile = [".byte 0", '.asciz "a.c"', ".byte 0, 0, 0, 0"];

function firstLine(elf: ElfReader, offset = 0, length = 1): (string | undefined)[] {
  const section = elf.section(".text.f")?.index as CodePlace["section"];
  const places = Array.from({ length }, (_, at): CodePlace => ({ section, offset: offset + at }));
  return sourceLines(elf, places).map((found) => (found === undefined ? undefined : `${found.file}:${found.line}`));
}

test("a line table by hand", () => {
  expect(firstLine(withLineTable(2, oneFile, overEverything))).toEqual(["a.c:1"]);
  const fields = [".byte 1, 1, 8, 1", '.asciz "/"', ".byte 1, 1, 8, 2", '.asciz "a.c"', '.asciz "b.c"'];
  expect(firstLine(withLineTable(5, fields, overEverything))).toEqual(["b.c:1"]);
});

test("rows that go over the same code without end are damage", () => {
  const program = [".rept 100000", ...overEverything, ".endr"];
  const lines = firstLine(withLineTable(2, oneFile, program), 0, 0xf000);
  expect(lines).toHaveLength(0xf000);
  expect(lines.every((line) => line === undefined)).toBe(true);
});

test("a list of files that goes beyond its table, or has entries without bytes, is damage", () => {
  const beyond = [".byte 0", "5:", '.asciz "a.c"', ".byte 0, 0, 0, 0"];
  expect(firstLine(withLineTable(2, beyond, overEverything, "5f"))).toEqual([undefined]);
  const empty = [".byte 0, 0", ".byte 0, 2"];
  expect(firstLine(withLineTable(5, empty, overEverything))).toEqual([undefined]);
});

test("names of files get their folders where these are asked for", () => {
  const elf = new ElfReader(compileC(source, ["-g"]));
  const text = elf.section(".text.first") ?? elf.section(".text");
  if (text === undefined) throw new Error("no code");
  const places = Array.from({ length: text.size }, (_, offset): CodePlace => ({ section: text.index, offset }));
  const names = (withFolders: boolean): Set<string | undefined> =>
    new Set(sourceLines(elf, places, { withFolders }).map((line) => line?.file));
  expect(names(true)).toEqual(new Set(["fs/unit.c", "/src/include/helper.h"]));
  expect([...names(false)].map((name) => basename(name ?? "")).sort()).toEqual(["helper.h", "unit.c"]);
});
