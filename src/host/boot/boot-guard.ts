import { join } from "node:path";
import { messageOf } from "../../support/errors.ts";
import type { Host } from "../kernel/host.ts";
import { type HostRefusal, refuseOnHost } from "../kernel/host-refusals.ts";
import type { Steps } from "../kernel/steps.ts";
import { readLoadedPatch } from "../kernel/sysfs.ts";
import type { LoadedModule } from "../load/loaded-module.ts";
import type { PatchFile } from "../load/patch-file.ts";
import {
  bootRecordsOf,
  findHeldBack,
  probationSeconds,
  readBootId,
  readBootRecords,
  removeBootRecord,
  writeBootRecord,
} from "./boot-record.ts";

/** What is done around the load of each module that nothing else speaks against. */
export interface LoadGuard {
  /** Just before the load. Refusals keep the module out. */
  before(file: PatchFile, steps: Steps): Promise<readonly HostRefusal[]>;
  /** After it, whatever came of it. Not called with a dry run. */
  after(file: PatchFile, outcome: LoadedModule["outcome"]): Promise<void>;
}

/** At boot: each attempt is recorded first, and a module that an earlier boot did not survive is left out. */
export function bootGuard(host: Host): LoadGuard {
  const { root, release } = host;
  let waiting = false;
  return {
    async before(file, steps) {
      const refuse = (code: "HELD_BACK" | "GUARD_NOT_WRITTEN", why: string): readonly HostRefusal[] => [
        refuseOnHost(code, file.name, file.path, { why, name: file.name }),
      ];
      const held = findHeldBack(await readBootRecords(root, release), await readBootId(root), file);
      if (held !== undefined) return refuse("HELD_BACK", held.why);
      const path = join(bootRecordsOf(root, release), file.name);
      try {
        await steps.take(`write ${path}, fsync`, () => writeBootRecord(host, file, "loading"));
      } catch (error) {
        return refuse("GUARD_NOT_WRITTEN", messageOf(error));
      }
      // Before the load: whatever happens to this process then, no record of a boot that goes well is left over.
      if (!waiting && !steps.dryRun) await host.confirmLater(probationSeconds + 1);
      waiting = true;
      return [];
    },
    async after(file, outcome) {
      // After a long transition the minute may be over already, and there is no record any more.
      const record = (await readBootRecords(root, release)).find(({ name }) => name === file.name);
      if (outcome === "loaded") {
        if (record !== undefined) await writeBootRecord(host, file, "loaded");
        return;
      }
      if (outcome === "already") {
        // A kmend that was killed, or an initramfs that did not wait for it, left it at that.
        const ours = record?.state === "loading" && record.boot === (await readBootId(root));
        if (ours) await writeBootRecord(host, file, "loaded");
        return;
      }
      // What could not be taken back keeps its record.
      if ((await readLoadedPatch(root, file.name)) === undefined) await removeBootRecord(root, release, file.name);
    },
  };
}

/**
 * By hand: a module that was held back at boot is on probation again, and is trusted when the machine has run with it for a minute. Nothing is recorded
 * of any other.
 */
export function guardByHand(host: Host): LoadGuard {
  const { root, release } = host;
  return {
    before: () => Promise.resolve([]),
    async after(file, outcome) {
      if (outcome !== "loaded" && outcome !== "already") return;
      const held = findHeldBack(await readBootRecords(root, release), await readBootId(root), file);
      if (held === undefined) return;
      await writeBootRecord(host, file, "loaded");
      await host.confirmLater(probationSeconds + 1);
    },
  };
}
