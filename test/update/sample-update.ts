import { mkdtempSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { sha256 } from "../../src/support/cache.ts";
import { writeUpdate } from "../../src/update/update-bundle.ts";
import type { UpdateManifest } from "../../src/update/update-manifest.ts";
import { buildId, patchFile, release, type Wanted } from "../host/patch-files.ts";

/** What a test wants of an update. */
export interface WantedUpdate extends Pick<Wanted, "release" | "buildId" | "build" | "signed" | "depends"> {
  readonly id: string;
  /** `NAME` of vmlinux, or `OBJECT:NAME`. */
  readonly functions?: readonly string[];
  /** Updates that it goes on top of. */
  readonly after?: UpdateManifest["after"];
  readonly description?: string;
  /** Changes the manifest after it was made to fit. */
  readonly manifest?: Partial<UpdateManifest>;
}

/** The parts of an update: its manifest without digests, and its files. */
export interface UpdateParts {
  readonly manifest: Omit<UpdateManifest, "files" | "digest">;
  readonly files: ReadonlyMap<string, Buffer>;
  /** SHA-256 of the patch module. */
  readonly sha256: string;
}

/** Makes the parts of an update whose module is one that a fake host takes. */
export function updateParts(folder: string, wanted: WantedUpdate): UpdateParts {
  const { id, functions = ["foo"], after = [], description = "", manifest: changes = {}, ...rest } = wanted;
  const name = `ksplice-${id}`;
  const earlier = after.map((update) => ({ name: `ksplice-${update.id}`, sha256: update.sha256 }));
  const own = mkdtempSync(join(folder, "module-"));
  const path = patchFile(own, {
    ...{ name, functions, replace: false, ...rest },
    ...(after.length > 0 ? { after: earlier } : {}),
  });
  const module = readFileSync(path);
  const places = functions.map(
    (text) => (text.includes(":") ? text.split(":") : ["vmlinux", text]) as [string, string],
  );
  const manifest: Omit<UpdateManifest, "files" | "digest"> = {
    schema: 1,
    id,
    description: description.split("\n")[0] ?? "",
    tool: "kmend",
    created: "2026-01-02T03:04:05Z",
    kernel: { release: wanted.release ?? release, buildId: wanted.buildId ?? buildId },
    targets: [...new Set(places.map(([object]) => object))].sort(),
    functions: places.map(([object, function_]) => ({
      ...{ name: function_, object, unit: "x.c", sympos: 0 },
      ...{ change: "changed", proven: true, reason: "code differs" },
    })),
    module: { name, file: basename(path), sha256: sha256(module) },
    after: [...after],
    modules: [],
    ...changes,
  };
  const files = new Map([
    ["patch", Buffer.from("--- a/x.c\n+++ b/x.c\n")],
    ["description", Buffer.from(description === "" ? "" : `${description}\n`)],
    [basename(path), module],
  ]);
  return { manifest, files, sha256: sha256(module) };
}

/** Writes an update into `folder`. @returns path of the archive and digest of its module. */
export async function sampleUpdate(folder: string, wanted: WantedUpdate): Promise<{ path: string; sha256: string }> {
  const parts = updateParts(folder, wanted);
  return { path: await writeUpdate(parts.manifest, parts.files, 1_700_000_000, folder), sha256: parts.sha256 };
}
