import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { sha256 } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { readUpdate } from "../../src/update/update-bundle.ts";
import { sealManifest } from "../../src/update/update-manifest.ts";
import { updateParts } from "./sample-update.ts";
import { tar } from "./tar-archive.ts";

const scratch = mkdtempSync(join(tmpdir(), "kmend-fuzz-"));
const folder = mkdtempSync(join(scratch, "archive-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const { manifest, files } = updateParts(scratch, { id: "abc", description: "what it is for" });
const fileEntries = [...files].map(([name, content]) => ({ name: `u/${name}`, content }));
const digests = Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)]));
const manifestText = JSON.stringify(sealManifest({ ...manifest, files: digests }));

function archive(text: string): string {
  const path = join(folder, "update.tar.gz");
  writeFileSync(path, gzipSync(tar([...fileEntries, { name: "u/manifest.json", content: text }])));
  return path;
}

describe("a damaged archive", () => {
  const whole = (): Buffer => tar([...fileEntries, { name: "u/manifest.json", content: manifestText }]);

  async function end(path: string): Promise<"read" | "refused"> {
    try {
      await readUpdate(path);
      return "read";
    } catch (error) {
      // Anything but this error would be a crash.
      expect(error).toBeInstanceOf(KmendError);
      expect((error as KmendError).code).toBe("BAD_UPDATE");
      return "refused";
    }
  }

  test("is refused or means the same, wherever bytes are changed, removed or put in", async () => {
    const good = whole();
    const path = join(folder, "update.tar.gz");
    writeFileSync(path, gzipSync(good));
    const meant = await readUpdate(path);
    let refused = 0;
    const place = fc.nat(good.length - 1);
    const mutation = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), at: place, bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) }),
      fc.record({
        kind: fc.constant("insert" as const),
        at: place,
        bytes: fc.uint8Array({ minLength: 1, maxLength: 600 }),
      }),
      fc.record({
        kind: fc.constant("remove" as const),
        at: place,
        bytes: fc.uint8Array({ minLength: 1, maxLength: 600 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        const bad = mutations.reduce<Buffer>((bytes, { kind, at, bytes: more }) => {
          const rest = bytes.subarray(kind === "insert" ? at : at + more.length);
          return Buffer.concat([bytes.subarray(0, at), ...(kind === "remove" ? [] : [more]), rest]);
        }, good);
        writeFileSync(path, gzipSync(bad, { level: 1 }));
        if ((await end(path)) === "refused") {
          refused++;
          return;
        }
        // What is not covered by a digest says nothing: times, owners, padding.
        const read = await readUpdate(path);
        expect(read.manifest).toEqual(meant.manifest);
        expect([...read.files]).toEqual([...meant.files]);
      }),
      { numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(100);
    expect(readdirSync(folder)).toEqual(["update.tar.gz"]);
  });

  test("is refused or means the same when its manifest has other values", async () => {
    const original = JSON.parse(manifestText);
    const paths = leaves(original).filter((place) => place.join(".") !== "digest");
    const values = [null, -1, 2 ** 53, "", "../x", "\u0000", [], {}, true, "x".repeat(5000), ["vmlinux", "vmlinux"]];
    for (const place of paths) {
      for (const value of values) {
        const changed = structuredClone(original);
        if (
          isDeepStrictEqual(
            place.reduce((at, key) => at[key], original),
            value,
          )
        )
          continue;
        place.slice(0, -1).reduce((at, key) => at[key], changed)[place.at(-1) as string] = value;
        // As it is: something was changed on the way. With its digest: somebody made it so, and the rest has to agree.
        expect(await end(archive(JSON.stringify(changed)))).toBe("refused");
        const path = archive(JSON.stringify(sealManifest(changed)));
        // Texts for people may be any.
        const free = /^(description|tool|functions\.0\.(name|unit|reason|proven|object))$/.test(place.join("."));
        if (!free) expect([place, value, await end(path)]).toEqual([place, value, "refused"]);
        else await end(path);
      }
    }
    expect(paths.length).toBeGreaterThan(20);
  });

  test("of the packed bytes is refused or means the same", async () => {
    const good = gzipSync(whole());
    const path = join(folder, "update.tar.gz");
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] as number) ^ change;
        writeFileSync(path, bad);
        await end(path);
        writeFileSync(path, good.subarray(0, at));
        expect(await end(path)).toBe("refused");
      }),
      { numRuns: 200 },
    );
  });
});

/** Paths of all values in a tree of objects and lists that are neither. */
function leaves(value: unknown, at: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...at]];
  return [
    ...(at.length > 0 ? [[...at]] : []),
    ...Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...at, key])),
  ];
}
