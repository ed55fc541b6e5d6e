import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { repeatRun } from "../../src/build/repro/repeat.ts";
import { cItems, cTokens, definedNames } from "../../src/change/c-tokens.ts";
import { readPatchFile } from "../../src/change/patch-files.ts";
import { sourceFunctions } from "../../src/change/source-functions.ts";
import { readFixPatch } from "../../src/cve/fix-patch.ts";
import { exposureOf } from "../../src/cve/kernel-state.ts";
import { parseKernelVersion } from "../../src/cve/kernel-version.ts";
import { parseCvssFile, parseDyad, parseRecord } from "../../src/cve/parse-record.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { readDebugEntries } from "../../src/elf/debug-entries.ts";
import { sourceLines } from "../../src/elf/line-table.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { Symvers } from "../../src/kernel/modules/symvers.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import { readSymbolTable } from "../../src/match/symbol-table.ts";
import { readManifest } from "../../src/package/package-manifest.ts";
import { parseManifestNote } from "../../src/patch-module/manifest-note.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { sha256 } from "../../src/support/cache.ts";
import { readTarball } from "../../src/update/tar-reader.ts";
import { type RecordFacts, recordText } from "../../test/cve/record-text.ts";
import { tinyKernel } from "../../test/kernel/tiny-kernel.ts";
import { tar } from "../../test/update/tar-archive.ts";

/** Something that reads what others have made. */
export interface FuzzedParser {
  /** Whole inputs, of which damaged copies are made. */
  readonly seeds: () => readonly Uint8Array[];
  /** Reads one input completely; only a KmendError may come out. */
  readonly read: (input: Buffer, scratch: string) => unknown;
}

const unit = (value: number): string => `
struct item { int number; struct item *next; char text[${8 + value}]; };
extern int printk(const char *, ...);
extern struct item first;
static int state;
static const int table[] = { 3, 1, ${value} };
int step(struct item *item) { state += item->number; return printk("%d", table[item->number & 1]); }
int walk(int count) { struct item *at = &first; while (count-- > ${value} && at) { step(at); at = at->next; } return state; }
`;

function compiled(value: number, ...flags: string[]): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "kmend-fuzz-"));
  try {
    const object = join(folder, "unit.o");
    const usual = [
      "-O2",
      "-c",
      "-ffunction-sections",
      "-fdata-sections",
      "-fno-pic",
      "-mcmodel=kernel",
      "-mno-red-zone",
    ];
    execFileSync("gcc", [...usual, ...flags, "-xc", "-", "-o", object], { input: unit(value) });
    return readFileSync(object);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function withTypes(object: Buffer): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "kmend-fuzz-"));
  try {
    const path = join(folder, "unit.o");
    writeFileSync(path, object);
    execFileSync("pahole", ["-J", path]);
    return Buffer.from(new ElfReader(readFileSync(path)).section(".BTF")?.data ?? []);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Puts the input where a reader of files finds it. */
function inFile(input: Buffer, scratch: string, name: string): string {
  const path = join(scratch, name);
  writeFileSync(path, input);
  return path;
}

const texts =
  (...all: string[]) =>
  (): readonly Buffer[] =>
    all.map((text) => Buffer.from(text));

function note(text: string): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32LE(6, 0);
  head.writeUInt32LE(Buffer.byteLength(text), 4);
  head.writeUInt32LE(1, 8);
  head.write("kmend\0", 12, "latin1");
  return Buffer.concat([head, Buffer.from(text)]);
}

const record: RecordFacts = {
  id: "CVE-2025-1000",
  title: "net: take the lock",
  files: ["net/core/dev.c"],
  since: "3.8",
  fixes: [
    ["6.1.125", "b".repeat(40)],
    ["6.13", "d".repeat(40)],
  ],
};

/** Kernels that damaged records are held against. */
const versions = ["5.10.3", "6.1.100", "6.14"].flatMap((text) => parseKernelVersion(text) ?? []);

const manifest = JSON.stringify({
  ...{
    schema: 1,
    kmend: "0.1.0",
    kernel: { release: "6.1.0-9-amd64", buildId: "00" },
    replace: true,
    allowedLayouts: [],
  },
  patches: [{ name: "fix.patch", sha256: "00" }],
  functions: [{ name: "f", object: "vmlinux", sympos: 0, size: 4 }],
  symbols: [{ name: "s", object: "vmlinux", sympos: 1, address: "0xffffffff81000000" }],
});

/** Every parser of kmend, by name. */
export const parsers: Readonly<Record<string, FuzzedParser>> = {
  elf: {
    seeds: () => [compiled(4), compiled(4, "-g", "-gz")],
    read: async (input) => {
      const elf = new ElfReader(input);
      for (const { index } of elf.sections) elf.relocationsFor(index);
      readModinfo(elf);
      await readUnitObject(input);
    },
  },
  pairs: {
    seeds: () => [compiled(4), compiled(5, "-g")],
    read: (input) => {
      const names = { originalName: "a", patchedName: "b", object: "vmlinux", wantsExtract: true };
      return compareObjects(compiled4(), input, names);
    },
  },
  match: {
    seeds: () => [compiled(4)],
    read: async (input) => matchUnit(await readUnitObject(compiled4()), new ModuleObject("unit", input, "unit.ko")),
  },
  btf: {
    seeds: () => [withTypes(compiled(4, "-g"))],
    read: (input) => {
      const btf = new Btf(input, "input");
      for (const kind of Object.values(BtfKind)) btf.find(kind, "item");
    },
  },
  dwarf: {
    seeds: () => [compiled(4, "-gdwarf-4"), compiled(4, "-gdwarf-5"), compiled(4, "-gdwarf-5", "-gz")],
    read: (input) => {
      const elf = new ElfReader(input);
      sourceLines(
        elf,
        elf.sections.map(({ index }) => ({ section: index, offset: 4 })),
      );
      readDebugEntries(elf);
    },
  },
  manifest: { seeds: () => [note(manifest)], read: (input) => parseManifestNote(input, true) },
  records: {
    seeds: texts(
      recordText(record),
      recordText({ ...record, fixes: [], ranges: [["5.10.2", "5.10.9", "f".repeat(40)]] }),
    ),
    read: (input) => {
      const text = input.toString("utf8");
      const parsed = parseRecord(text, undefined, parseCvssFile(text));
      if ("problem" in parsed) return;
      for (const version of versions) exposureOf(parsed, version);
    },
  },
  dyads: {
    seeds: texts(`# dyad version: 1.2.0\n4.2:${"1".repeat(40)}:6.1.30:${"9".repeat(40)}\n4.2:${"1".repeat(40)}:0:0\n`),
    read: (input) => {
      const pairs = parseDyad(input.toString("utf8"));
      if (!("problem" in pairs)) for (const version of versions) exposureOf({ pairs }, version);
    },
  },
  mails: {
    seeds: texts(
      `From ${"a".repeat(40)} Mon Sep 17 00:00:00 2001\nSubject: [PATCH] fix\n it\n\n---\ndiff --git a/fs/a.c b/fs/a.c\n--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1 +1 @@\n-a\n+b\n-- \n2.39\n`,
    ),
    read: (input) => readFixPatch(input, "a".repeat(40), "mail"),
  },
  tarballs: {
    seeds: () => [
      tar([
        { name: "u/manifest.json", content: manifest },
        { name: "u/fix.ko", content: "x".repeat(600) },
      ]),
    ],
    read: (input, scratch) => readTarball(inFile(gzipSync(input, { level: 1 }), scratch, "u.tar.gz")),
  },
  images: {
    seeds: () => [tinyKernel(), gzipSync(tinyKernel())],
    read: async (input, scratch) => {
      const image = await KernelImage.open(inFile(input, scratch, "vmlinuz"), join(scratch, "cache"));
      try {
        await image.readBanner(join(scratch, "cache"));
        const kallsyms = image.kallsyms();
        for (const index of kallsyms.indicesOf("t_show")) kallsyms.addressOf(index);
        if (image.btf !== undefined) new Btf(image.btf, "image");
      } finally {
        rmSync(join(scratch, "cache"), { recursive: true, force: true });
      }
    },
  },
  repros: {
    seeds: () => [Buffer.from(JSON.stringify(reproRecord()))],
    read: (input, scratch) => {
      inFile(compiled4(), scratch, "original-a.o");
      inFile(compiled4(), scratch, "patched-b.o");
      inFile(input, scratch, "repro.json");
      return repeatRun({ folder: scratch });
    },
  },
  symvers: {
    seeds: texts(
      "0x00112233\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00112234\tfuse_x\tfs/fuse/fuse\tEXPORT_SYMBOL_GPL\tNS\n",
    ),
    read: (input) => [...new Symvers(input.toString("utf8"), "Module.symvers").names()],
  },
  symbols: {
    seeds: texts(
      "ffffffff81000000 T _text\nffffffff81000040 t step\nffffffffc0000000 t walk\t[fuse]\n",
      "   Num:    Value          Size Type    Bind   Vis      Ndx Name\n     1: ffffffff81000040    16 FUNC    GLOBAL DEFAULT    1 step\n",
    ),
    read: (input) => readSymbolTable(input, "System.map", "vmlinux"),
  },
  patches: {
    seeds: texts(
      "diff --git a/fs/a.c b/fs/a.c\nindex 1..2 100644\n--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,3 +1,3 @@ int f\n one\n-two\n+TWO\n three\n",
      'rename from "fs/\\303\\274.c"\nrename to fs/b.c\n--- a/fs/a.c\t2001\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n\\ No newline at end of file\n',
    ),
    read: (input, scratch) => readPatchFile(inFile(input, scratch, "fix.patch")),
  },
  text: {
    seeds: () => [
      Buffer.from(unit(4)),
      Buffer.from('#define X(a) \\\n a "b\\"c" /* d */ // e\nenum { A, B = 1 }; typedef struct { int x; } y;\n'),
    ],
    read: (input) => {
      const text = input.toString("latin1");
      sourceFunctions(text);
      const tokens = cTokens(text);
      cItems(tokens);
      definedNames(tokens);
    },
  },
  yaml: {
    seeds: texts(
      "packages:\n  - name: one\n    version: 1.10\n    cves: [CVE-2024-1]\n    patches: [{filename: a.patch, kernels: [6.1.0-9-amd64]}]\n",
    ),
    read: (input, scratch) => readManifest(inFile(input, scratch, "fleet.yaml")),
  },
};

/** What `diff --save-repro` writes of two equal objects. */
function reproRecord(): object {
  const digest = sha256(compiled4());
  return {
    ...{ schema: 1, command: "diff", kmend: "0.1.0", error: null },
    options: { original: "original-a.o", patched: "patched-b.o", layouts: "ignore", allowLayout: [] },
    called: { "original-a.o": "a.o", "patched-b.o": "b.o" },
    result: { schema: 1, outcome: "unchanged" },
    files: { "original-a.o": digest, "patched-b.o": digest },
  };
}

let known: Buffer | undefined;
function compiled4(): Buffer {
  known ??= compiled(4, "-g");
  return known;
}
