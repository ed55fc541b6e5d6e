import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { updateSizeLimit } from "../../src/update/tar-reader.ts";
import { readUpdate, withModuleFiles, writeUpdate } from "../../src/update/update-bundle.ts";
import type { UpdateManifest } from "../../src/update/update-manifest.ts";

const scratch = mkdtempSync(join(tmpdir(), "kmend-bundle-"));
afterAll(() => rmSync(scratch, { recursive: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(scratch, `${count++}`);
  mkdirSync(folder);
});

const module = Buffer.from("a patch module");
const files = new Map<string, Uint8Array>([
  ["patch", Buffer.from("--- a/x\n")],
  ["description", Buffer.from("what it is for\n")],
  ["ksplice-abc.ko", module],
]);
const manifest: Omit<UpdateManifest, "files"> = {
  schema: 1,
  id: "abc",
  description: "what it is for",
  tool: "kmend",
  created: "2026-01-02T03:04:05Z",
  kernel: { release: "6.1.0-9-amd64", buildId: "00ff" },
  targets: ["vmlinux"],
  functions: [],
  module: { name: "ksplice-abc", file: "ksplice-abc.ko", sha256: sha256(module) },
  after: [],
  modules: [],
};

interface Entry {
  readonly name: string;
  readonly content?: string | Uint8Array;
  /** POSIX ustar: 0 file, 1 hard link, 2 symbolic link, 3 device, 5 folder, x pax header. */
  readonly type?: string;
  readonly link?: string;
  /** Size that the header claims. */
  readonly size?: number;
}

/** A tar archive with anything in it. */
function tar(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content = "", type = "0", link = "", size } of entries) {
    const bytes = Buffer.from(content);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100, "latin1");
    header.write("0000644\0", 100);
    header.write(`${(size ?? bytes.length).toString(8).padStart(11, "0")}\0`, 124);
    header.write("        ", 148);
    header.write(type, 156);
    header.write(link, 157, 100, "latin1");
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    parts.push(header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function archive(entries: readonly Entry[]): string {
  const path = join(folder, "update.tar.gz");
  writeFileSync(path, gzipSync(tar(entries)));
  return path;
}

function manifestEntry(changes: object = {}): Entry {
  const digests = Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)]));
  return { name: "u/manifest.json", content: JSON.stringify({ ...manifest, files: digests, ...changes }) };
}

const fileEntries = [...files].map(([name, content]) => ({ name: `u/${name}`, content }));

async function refusal(path: string): Promise<string> {
  const error = await readUpdate(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KmendError);
  const { code, why } = error as KmendError;
  expect(code).toBe("BAD_UPDATE");
  // Nothing but the archive is there afterwards.
  expect(readdirSync(folder)).toEqual(["update.tar.gz"]);
  return why ?? "";
}

describe("an update", () => {
  test("is read as it was written, from the archive and from the folder it was unpacked to", async () => {
    const path = await writeUpdate(manifest, files, 1_700_000_000, folder);
    expect(path).toBe(join(folder, "ksplice-abc.tar.gz"));
    const read = await readUpdate(path);
    expect(read.manifest.module).toEqual(manifest.module);
    expect(read.module.equals(module)).toBe(true);
    expect(read.description).toBe("what it is for\n");
    const unpacked = join(folder, "unpacked");
    mkdirSync(unpacked);
    for (const [name, content] of read.files) writeFileSync(join(unpacked, name), content);
    writeFileSync(join(unpacked, "manifest.json"), JSON.stringify(read.manifest));
    expect((await readUpdate(unpacked)).module.equals(module)).toBe(true);
    symlinkSync("/etc/passwd", join(unpacked, "more"));
    await expect(readUpdate(unpacked)).rejects.toMatchObject({ code: "BAD_UPDATE" });
  });

  test("has the same bytes for the same content, identifier and time, and others for another time", async () => {
    const written: string[] = [];
    for (const [place, epoch] of [["a", 1_700_000_000] as const, ["b", 1_700_000_000] as const, ["c", 5] as const]) {
      mkdirSync(join(folder, place));
      const { readFileSync } = await import("node:fs");
      written.push(sha256(readFileSync(await writeUpdate(manifest, files, epoch, join(folder, place)))));
    }
    expect(written[0]).toBe(written[1]);
    expect(written[2]).not.toBe(written[0]);
  });

  test("gives its module as a file that is gone afterwards", async () => {
    const path = await writeUpdate(manifest, files, 1, folder);
    const seen = await withModuleFiles([path, "other.ko"], async (paths) => {
      const { readFileSync } = await import("node:fs");
      expect(readFileSync(paths[0] as string).equals(module)).toBe(true);
      return paths;
    });
    expect(seen[1]).toBe("other.ko");
    const { existsSync } = await import("node:fs");
    expect(existsSync(seen[0] as string)).toBe(false);
  });
});

describe("an archive is refused that", () => {
  test.each<[string, readonly Entry[], RegExp]>([
    ["leaves its folder", [{ name: "u/../../evil", content: "x" }], /no name of a file/],
    ["names an absolute path", [{ name: "/etc/cron.d/evil", content: "x" }], /outside of its folder/],
    ["has a file at the top", [{ name: "evil", content: "x" }], /no name of a file/],
    ["has two folders", [...fileEntries, { name: "v/evil", content: "x" }], /outside of its folder/],
    ["holds a symbolic link", [{ name: "u/patch", type: "2", link: "/etc/passwd" }], /type "2"/],
    ["holds a hard link", [{ name: "u/patch", type: "1", link: "/etc/passwd" }], /type "1"/],
    ["holds a device", [{ name: "u/patch", type: "3" }], /type "3"/],
    ["hides names in extended headers", [{ name: "u/patch", type: "x", content: "20 path=/etc/evil\n" }], /type "x"/],
    ["names a file twice", [...fileEntries, { name: "u/patch", content: "other" }], /twice/],
    ["is cut off", [{ name: "u/patch", content: "x", size: 100_000 }], /cut off/],
    ["claims a size beyond all bounds", [{ name: "u/patch", size: 0o77777777777 }], /cut off/],
    ["is empty", [], /empty/],
    ["has no manifest", fileEntries, /no manifest\.json/],
    [
      "has a manifest that is no JSON",
      [...fileEntries, { name: "u/manifest.json", content: "{" }],
      /not what it has to be/,
    ],
    ["has an identifier that is no name", [...fileEntries, manifestEntry({ id: "../evil" })], /id:/],
    ["has a manifest with something unknown in it", [...fileEntries, manifestEntry({ extra: 1 })], /extra/],
    [
      "has a file that the manifest does not know",
      [...fileEntries, { name: "u/evil", content: "x" }, manifestEntry()],
      /does not know evil/,
    ],
    [
      "has a file with another content",
      [{ ...(fileEntries[0] as Entry), content: "other" }, ...fileEntries.slice(1), manifestEntry()],
      /patch does not have the digest/,
    ],
    ["lacks a file", [...fileEntries.slice(1), manifestEntry()], /patch is missing/],
    [
      "names another module",
      [...fileEntries, manifestEntry({ module: { ...manifest.module, file: "patch" } })],
      /not the one/,
    ],
  ])("%s", async (_, entries, why) => {
    expect(await refusal(archive(entries))).toMatch(why);
  });

  test("is no archive", async () => {
    writeFileSync(join(folder, "update.tar.gz"), "plain text");
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/gzip/);
    writeFileSync(join(folder, "update.tar.gz"), gzipSync("plain text".repeat(100)));
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/no number|damaged/);
  });

  test("unpacks to far more than it has", async () => {
    const bomb = gzipSync(Buffer.alloc(updateSizeLimit + 1024), { level: 9 });
    expect(bomb.length).toBeLessThan(1_000_000);
    writeFileSync(join(folder, "update.tar.gz"), bomb);
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/more than/);
  });
});
