import { join } from "node:path";
import type { Manifest } from "../../patch-module/manifest.ts";
import { readLoadRecord } from "../installed/records.ts";
import { readState } from "../kernel/host.ts";

/** What is known of a loaded module that stops functions. */
export interface StopStatus {
  /** In the words of whoever made it; null when nobody said. */
  readonly reason: string | null;
  /** Vulnerabilities to which it closes the way. */
  readonly cves: readonly string[];
  /** Who loaded it; null when kmend did not. */
  readonly by: string | null;
  /** When it ends by itself, as ISO 8601 in UTC; null for a stop without end. */
  readonly until: string | null;
  readonly functions: readonly {
    readonly name: string;
    readonly object: string;
    /** What callers get, for example `-EPERM`. */
    readonly returns: string;
    /** How often it was called; null without a log. */
    readonly hits: number | null;
  }[];
}

/** What a loaded stop is, from its manifest, its parameters and the record of its load; null for any other module. */
export async function stopStatus(root: string, name: string, manifest: Manifest | null): Promise<StopStatus | null> {
  const stop = manifest?.stop;
  if (manifest === null || stop === undefined) return null;
  const record = await readLoadRecord(root, name);
  const functions = await Promise.all(
    manifest.functions.map(async ({ name: function_, object }, at) => {
      const counter = stop.counters[at];
      const text =
        counter === undefined ? undefined : await readState(root, "/sys/module", name, join("parameters", counter));
      const hits = text !== undefined && /^\d+$/.test(text) ? Number(text) : null;
      return { name: function_, object, returns: stop.answers[at] ?? "", hits };
    }),
  );
  const { cves = [] } = manifest;
  return { reason: stop.reason ?? null, cves, by: record?.by ?? null, until: record?.until ?? null, functions };
}
