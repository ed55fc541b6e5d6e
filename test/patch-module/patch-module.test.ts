import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { manifestSection } from "../../src/build/assemble/manifest.ts";
import { type DraftSection, draftOf, draftSection, draftSymbol, type ObjectDraft } from "../../src/elf/builder.ts";
import { RelocationX86, SectionFlag, SectionType, SpecialSection } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import type { Manifest } from "../../src/patch-module/manifest.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { readPatchModule } from "../../src/patch-module/patch-module.ts";
import { sealModule, unsealed } from "../../src/patch-module/seal.ts";
import { KmendError } from "../../src/support/errors.ts";
import { patchFile } from "../host/patch-files.ts";
import { Scratch } from "../integration/stock-kernel.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

const symbol = { name: "meminfo_show", object: "vmlinux", sympos: 0, address: "0x10" };
const whole = build();

/** A sound module that puts foo in force and reaches one symbol by livepatch relocation, with something done to it before it is sealed. */
function build(
  change: (draft: ObjectDraft, manifest: Manifest) => Manifest = (_draft, manifest) => manifest,
  seal = true,
): Uint8Array {
  const elf = new ElfReader(readFileSync(patchFile(scratch.folder(), { name: "fix" })));
  const draft = draftOf(elf);
  const find = (name: string): DraftSection => draft.sections.find((one) => one.name === name) as DraftSection;
  const reached = draftSymbol({
    name: ".klp.sym.vmlinux.meminfo_show,0",
    section: SpecialSection.livepatch,
    binding: 1,
  });
  draft.symbols.push(reached);
  const flags = SectionFlag.alloc | SectionFlag.infoLink | SectionFlag.relaLivepatch;
  const rela = draftSection({
    ...{ name: ".klp.rela.vmlinux..text", type: SectionType.rela, flags, alignment: 8, entrySize: 24 },
    ...{ link: draft.symbolTable, info: find(".text") },
    relocations: [{ offset: 0, type: RelocationX86.none, symbol: reached, addend: 0 }],
  });
  draft.sections.push(rela);
  const read = readManifest(elf) as Manifest;
  const { seal: _, ...rest } = read;
  const base: Manifest = { ...rest, ...(seal ? { seal: unsealed } : {}), symbols: [symbol] };
  const note = find(".note.kmend");
  note.data = manifestSection(change(draft, base), true).data;
  const file = writeObject(draft);
  return seal ? sealModule(file) : file;
}

/** Takes a section out of a module, whose manifest stays as it is. */
function stripped(draft: ObjectDraft, name: string, manifest: Manifest): Manifest {
  draft.sections = draft.sections.filter((section) => section.name !== name);
  return manifest;
}

function refusal(content: Uint8Array): KmendError {
  try {
    readPatchModule("fix.ko", content);
  } catch (error) {
    if (error instanceof KmendError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

/** The module after a program of the binutils has rewritten it. */
function rewritten(program: string, ...words: readonly string[]): Uint8Array {
  const path = join(scratch.folder(), "fix.ko");
  writeFileSync(path, whole);
  execFileSync(program, [...words, path]);
  return readFileSync(path);
}

describe("a patch module as it was built", () => {
  test("is read", () => {
    const { name, release, manifest, seal } = readPatchModule("fix.ko", whole);
    expect({ name, release, seal }).toEqual({ name: "fix", release: "6.1.0-9-amd64", seal: "intact" });
    expect(manifest?.symbols).toEqual([symbol]);
  });

  test("by a kmend that noted no digest, it is read and known as such", () => {
    expect(readPatchModule("fix.ko", build(undefined, false)).seal).toBe("unsealed");
  });

  test("by another tool, it has no manifest", () => {
    const path = patchFile(scratch.folder(), { name: "other", manifest: false });
    expect(readPatchModule(path, readFileSync(path))).toMatchObject({ manifest: null, seal: "unsealed" });
  });
});

describe("a module is refused that", () => {
  test.each<[string, () => Uint8Array, string, RegExp]>([
    [
      "objcopy rewrote",
      () => rewritten("objcopy", "--remove-section=.klp.rela.vmlinux..text"),
      "MODULE_ALTERED",
      /fix.ko is not as it was built/,
    ],
    ["strip touched", () => rewritten("strip", "--strip-debug"), "MODULE_ALTERED", /fix.ko is not as it was built/],
    ["has another byte of code", () => flipped(whole, ".text"), "MODULE_ALTERED", /do not have the digest/],
    [
      "lost its manifest",
      () => build((draft, manifest) => stripped(draft, ".note.kmend", manifest), false),
      "MODULE_ALTERED",
      /kmend made it, and it has no manifest/,
    ],
    [
      "lost its livepatch relocations, and has no digest",
      () => build((draft, manifest) => stripped(draft, ".klp.rela.vmlinux..text", manifest), false),
      "MODULE_ALTERED",
      /relocations are missing, of 1 symbols, one of them \.klp\.sym\.vmlinux\.meminfo_show,0/,
    ],
    [
      "has a manifest that names another function",
      () =>
        build((_, manifest) => ({
          ...manifest,
          functions: manifest.functions.map((one) => ({ ...one, name: "bar" })),
        })),
      "MODULE_ALTERED",
      /it replaces foo, and its manifest says nothing of it/,
    ],
    [
      "has a manifest that names one more",
      () =>
        build((_, manifest) => ({
          ...manifest,
          functions: [
            ...manifest.functions,
            { ...(manifest.functions[0] as Manifest["functions"][0]), object: "fuse", name: "bar" },
          ],
        })),
      "MODULE_ALTERED",
      /its manifest names bar of fuse, and its tables do not replace it/,
    ],
    [
      "has no digest, but a field that no kmend without one wrote",
      () => edited(whole, ".note.kmend", (note) => note.write('"sale"', note.indexOf('"seal"'))),
      "MANIFEST_DAMAGED",
      /an unknown field and no digest/,
    ],
    [
      "has a note of another owner",
      () => edited(whole, ".note.kmend", (note) => note.write("other\0", 12)),
      "MANIFEST_DAMAGED",
      /another owner/,
    ],
    [
      "has a note that is cut off",
      () => edited(whole, ".note.kmend", (note) => note.writeUInt32LE(1e6, 4)),
      "MANIFEST_DAMAGED",
      /cut off/,
    ],
    [
      "has a manifest that is not JSON",
      () => edited(whole, ".note.kmend", (note) => note.write("}{", 20)),
      "MANIFEST_DAMAGED",
      /not JSON/,
    ],
    [
      "has a manifest of another form",
      () => edited(whole, ".note.kmend", (note) => note.write('"schema":2', note.indexOf('"schema":1'))),
      "MANIFEST_DAMAGED",
      /schema is not what it has to be/,
    ],
    [
      "has a version that writes lines of its own",
      () => build((_, manifest) => ({ ...manifest, kmend: "1.0\nall is well" })),
      "MANIFEST_DAMAGED",
      /kmend is not what it has to be/,
    ],
    [
      "has reasons that write lines of their own",
      () => build((_, manifest) => ({ ...manifest, keptAddresses: ["a\u001b[2Jb"] })),
      "MANIFEST_DAMAGED",
      /keptAddresses\.0 is not what it has to be/,
    ],
    [
      "has a manifest of lists in lists",
      () =>
        build((_, manifest) => ({
          ...manifest,
          deep: Array.from({ length: 100 }).reduce<unknown[]>((inner) => [inner], []),
        })),
      "MANIFEST_DAMAGED",
      /lists in lists/,
    ],
    ["is no ELF file", () => Buffer.from("text"), "NOT_A_PATCH_MODULE", /it is damaged or not a kernel module/],
  ])("%s", (_, content, code, message) => {
    const error = refusal(content());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.exitCode).toBe(code === "NOT_A_PATCH_MODULE" ? 2 : 4);
  });
});

function edited(module: Uint8Array, section: string, edit: (bytes: Buffer) => unknown): Uint8Array {
  const copy = Uint8Array.from(module);
  const { data } = new ElfReader(copy).section(section) as { data: Uint8Array };
  edit(Buffer.from(data.buffer, data.byteOffset, data.length));
  return copy;
}

function flipped(module: Uint8Array, section: string): Uint8Array {
  return edited(module, section, (bytes) => bytes.writeUInt8((bytes[0] as number) ^ 1, 0));
}

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A copy of a JSON value in which one place holds something else, or nothing. */
function mutated(value: unknown, random: () => number): unknown {
  const strange = [null, true, -1, 1e300, "", "\u001b[2J", "__proto__", [], {}, [[]], { length: 3 }, "x".repeat(5000)];
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  if (typeof value !== "object" || value === null || random() < 0.15) return pick(strange);
  if (Array.isArray(value)) {
    if (value.length === 0) return [pick(strange)];
    const at = Math.floor(random() * value.length);
    return value.map((item, index) => (index === at ? mutated(item, random) : item));
  }
  const key = pick(Object.keys(value));
  const entries = Object.entries(value);
  if (random() < 0.15) return Object.fromEntries(entries.filter(([name]) => name !== key));
  return Object.fromEntries(entries.map(([name, item]) => [name, name === key ? mutated(item, random) : item]));
}

describe("3,000 mutants", () => {
  const outcomes = (make: (random: () => number) => Uint8Array, count: number): Map<string, number> => {
    const random = numbers(7);
    const codes = new Map<string, number>();
    for (let mutant = 0; mutant < count; mutant++) {
      let code = "taken";
      try {
        readPatchModule("fix.ko", make(random));
      } catch (error) {
        // Anything else than an expected failure ends the test with its own stack.
        if (!(error instanceof KmendError)) throw error;
        ({ code } = error);
      }
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    return codes;
  };

  test("of a manifest, within an unsealed module, are damaged manifests or altered modules", () => {
    const draft = draftOf(new ElfReader(build(undefined, false)));
    const note = draft.sections.find(({ name }) => name === ".note.kmend") as DraftSection;
    const manifest = readManifest(new ElfReader(build(undefined, false)));
    const text = note.data;
    const codes = outcomes((random) => {
      const json = Buffer.from(JSON.stringify(mutated(manifest, random)));
      const header = Buffer.from(text.subarray(0, 20));
      header.writeUInt32LE(json.length, 4);
      note.data = Buffer.concat([header, json, Buffer.alloc((4 - (json.length % 4)) % 4)]);
      return writeObject(draft);
    }, 1500);
    expect([...codes.keys()].sort()).toEqual(["MANIFEST_DAMAGED", "MODULE_ALTERED", "taken"]);
    expect(codes.get("MANIFEST_DAMAGED")).toBeGreaterThan(1000);
  });

  test("of a sealed file are all refused, whatever byte is another one", () => {
    const codes = outcomes((random) => {
      const copy = Uint8Array.from(whole);
      const at = Math.floor(random() * copy.length);
      copy[at] = (copy[at] as number) ^ (1 << Math.floor(random() * 8));
      return copy;
    }, 1500);
    expect([...codes.keys()].sort()).toEqual(["MANIFEST_DAMAGED", "MODULE_ALTERED", "NOT_A_PATCH_MODULE"]);
  });
});
