import { KmendError } from "../../support/errors.ts";
import { readLoadRecord, writeLoadRecord } from "../installed/records.ts";
import { type Host, thisHost } from "../kernel/host.ts";
import type { ChangeOptions } from "../load/load.ts";
import { type UnloadResult, unload } from "../load/unload.ts";
import type { Expiry } from "./expiry-text.ts";

/**
 * Has a loaded module unloaded after so many seconds: by a systemd timer, or where there is no systemd by a process that outlives this one. It does not
 * survive a reboot, and neither does the load.
 * @returns when that will be, as ISO 8601 in UTC.
 * @throws KmendError `NO_TIMER` when nothing would end it; the module stays loaded.
 */
export async function expireAfter(name: string, seconds: number, host: Host = thisHost()): Promise<string> {
  const record = await readLoadRecord(host.root, name);
  const started = record !== undefined && (await host.expireLater({ name, since: record.since }, seconds));
  if (record === undefined || !started) {
    throw new KmendError({
      code: "NO_TIMER",
      message: `${name} is loaded, and nothing will unload it by itself`,
      why:
        record === undefined
          ? "the record of its load cannot be read"
          : "neither systemd nor a process could be started",
      hint: `unload it yourself: kmend unload ${name}`,
    });
  }
  const until = new Date(Date.now() + seconds * 1000).toISOString();
  await writeLoadRecord(host.root, name, { ...record, until });
  return until;
}

/** Unloads a module whose time is over, if it is still the load that the timer was set for; undefined when there is nothing to do. */
export async function expire(expiry: Expiry, options: ChangeOptions = {}): Promise<UnloadResult | undefined> {
  const host = options.host ?? thisHost();
  const record = await readLoadRecord(host.root, expiry.name);
  if (record === undefined || record.since !== expiry.since) return undefined;
  return unload({ ...options, operands: [expiry.name] });
}
