import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { updateSizeLimit } from "../../src/update/tar-reader.ts";
import { readUpdate, withModuleFiles, writeUpdate } from "../../src/update/update-bundle.ts";
import { manifestSizeLimit, sealManifest } from "../../src/update/update-manifest.ts";
import { resealed } from "../host/patch-files.ts";
import { updateParts } from "./sample-update.ts";
import { type Entry, tar } from "./tar-archive.ts";

const scratch = mkdtempSync(join(tmpdir(), "kmend-bundle-"));
afterAll(() => rmSync(scratch, { recursive: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(scratch, `${count++}`);
  mkdirSync(folder);
});

const parts = mkdtempSync(join(tmpdir(), "kmend-parts-"));
afterAll(() => rmSync(parts, { recursive: true }));
const { manifest, files } = updateParts(parts, { id: "abc", description: "what it is for" });
const module = files.get("ksplice-abc.ko") as Buffer;

function archive(entries: readonly Entry[]): string {
  const path = join(folder, "update.tar.gz");
  writeFileSync(path, gzipSync(tar(entries)));
  return path;
}

function manifestEntry(changes: object = {}): Entry {
  const digests = Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)]));
  return {
    name: "u/manifest.json",
    content: JSON.stringify(sealManifest({ ...manifest, files: digests, ...changes })),
  };
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
    rmSync(join(unpacked, "more"));
    symlinkSync("/etc", join(unpacked, "folder"));
    await expect(readUpdate(unpacked)).rejects.toMatchObject({ code: "BAD_UPDATE" });
    rmSync(join(unpacked, "folder"));
    for (let count = 0; count < 4096; count++) writeFileSync(join(unpacked, `${count}`), "");
    await expect(readUpdate(unpacked)).rejects.toMatchObject({ why: expect.stringContaining("more than 4096 files") });
  });

  test("has the same bytes for the same content, identifier and time, and others for another time", async () => {
    const written: string[] = [];
    for (const [place, epoch] of [["a", 1_700_000_000] as const, ["b", 1_700_000_000] as const, ["c", 5] as const]) {
      mkdirSync(join(folder, place));
      written.push(sha256(readFileSync(await writeUpdate(manifest, files, epoch, join(folder, place)))));
    }
    expect(written[0]).toBe(written[1]);
    expect(written[2]).not.toBe(written[0]);
  });

  test("gives its module as a file that is gone afterwards", async () => {
    const path = await writeUpdate(manifest, files, 1, folder);
    const seen = await withModuleFiles([path, "other.ko"], async (paths) => {
      expect(readFileSync(paths[0] as string).equals(module)).toBe(true);
      return paths;
    });
    expect(seen[1]).toBe("other.ko");
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
      [...fileEntries, manifestEntry({ module: { ...manifest.module, sha256: sha256("other") } })],
      /not the one/,
    ],
    [
      "gives its module another name",
      [...fileEntries, manifestEntry({ id: "other" })],
      /module: is not that of update other/,
    ],
    [
      "names other objects than those of its functions",
      [...fileEntries, manifestEntry({ targets: ["fuse"] })],
      /targets: are not the objects/,
    ],
    [
      "goes on top of itself",
      [...fileEntries, manifestEntry({ after: [{ id: "abc", sha256: sha256("") }] })],
      /after: names an update twice, or this one/,
    ],
    [
      "has a complete module elsewhere",
      [...fileEntries, manifestEntry({ modules: [{ target: "fuse", file: "patch" }] })],
      /modules: fuse is elsewhere/,
    ],
    [
      "hides what its module is for",
      [...fileEntries, manifestEntry({ kernel: { release: "6.1.0-8-amd64", buildId: "00ff" } })],
      /made for another kernel/,
    ],
    [
      "hides what its module changes",
      [...fileEntries, manifestEntry({ functions: [{ ...manifest.functions[0], name: "harmless" }] })],
      /changes other functions/,
    ],
    [
      "hides what its module goes on top of",
      [...fileEntries, manifestEntry({ after: [{ id: "one", sha256: sha256("") }] })],
      /built upon other updates/,
    ],
    [
      "has a manifest of absurd length",
      [...fileEntries, { name: "u/manifest.json", content: " ".repeat(manifestSizeLimit + 1) }],
      /manifest\.json has/,
    ],
    [
      "has a manifest with absurd lists",
      [...fileEntries, manifestEntry({ targets: Array.from({ length: 50_000 }, (_, at) => `m${at}`) })],
      /targets: Too big/,
    ],
    [
      "has a manifest that is nested without end",
      [...fileEntries, { name: "u/manifest.json", content: "[".repeat(4_000_000) }],
      /not what it has to be/,
    ],
    [
      "has a manifest that is no object",
      [...fileEntries, { name: "u/manifest.json", content: "null" }],
      /not what it has to be/,
    ],
    [
      "has a file of a name that objects have",
      [...fileEntries, { name: "u/__proto__", content: "x" }, manifestEntry()],
      /does not know __proto__/,
    ],
    [
      "has more files than any update",
      Array.from({ length: 4097 }, (_, at) => ({ name: `u/${at}`, content: "" })),
      /more than 4096 files/,
    ],
    ["has a name with signs that a terminal obeys", [{ name: "u/\u001b[2J", content: "x" }], /no name of a file/],
    ["has a name that is an option", [{ name: "u/-rf", content: "x" }], /no name of a file/],
  ])("%s", async (_, entries, why) => {
    expect(await refusal(archive(entries))).toMatch(why);
  });

  test.each<[string, (module: Buffer) => Buffer, RegExp]>([
    ["is no module", () => Buffer.from("plain text"), /damaged or not a kernel module/],
    ["is cut off", (whole) => whole.subarray(0, 200), /damaged or not a kernel module/],
    [
      "is no live patch",
      (whole) => Buffer.from(whole.toString("latin1").replace("livepatch=Y", "livebatch=Y"), "latin1"),
      /mark it as a live patch/,
    ],
    [
      "has another name",
      (whole) =>
        resealed(Buffer.from(whole.toString("latin1").replace("name=ksplice_abc", "name=ksplice_abd"), "latin1")),
      /calls itself/,
    ],
    [
      "was changed after it was built",
      (whole) => Buffer.from(whole.toString("latin1").replace("license=GPL", "license=GPX"), "latin1"),
      /is not as it was built/,
    ],
    [
      "tells nothing",
      (whole) => Buffer.from(whole.toString("latin1").replace('{"schema":1,"kmend"', '{"schema":9,"kmend"'), "latin1"),
      /manifest in the patch module is damaged.*schema is not what/,
    ],
  ])("has a module that %s", async (_, change, why) => {
    const other = change(module);
    expect(other.equals(module)).toBe(false);
    const digests = Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)]));
    const changes = {
      files: { ...digests, "ksplice-abc.ko": sha256(other) },
      module: { ...manifest.module, sha256: sha256(other) },
    };
    const rest = fileEntries.filter(({ name }) => !name.endsWith(".ko"));
    const path = archive([...rest, { name: "u/ksplice-abc.ko", content: other }, manifestEntry(changes)]);
    expect(await refusal(path)).toMatch(why);
  });

  test("is no archive", async () => {
    writeFileSync(join(folder, "update.tar.gz"), "plain text");
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/gzip/);
    writeFileSync(join(folder, "update.tar.gz"), gzipSync("plain text".repeat(100)));
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/no number|damaged/);
  });

  test.each(["/dev/zero", "/dev/null"])("is no file: %s", async (path) => {
    await expect(readUpdate(path)).rejects.toMatchObject({
      code: "BAD_UPDATE",
      why: expect.stringContaining("neither"),
    });
  });

  test("unpacks to far more than it has", async () => {
    const bomb = gzipSync(Buffer.alloc(updateSizeLimit + 1024), { level: 9 });
    expect(bomb.length).toBeLessThan(1_000_000);
    writeFileSync(join(folder, "update.tar.gz"), bomb);
    expect(await refusal(join(folder, "update.tar.gz"))).toMatch(/more than/);
  });
});
