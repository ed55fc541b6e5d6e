import { lstat, readlink } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { namesIn } from "../kernel/host.ts";

/** What loads installed modules at boot, as far as systemd's files tell. */
export interface BootService {
  /** kmend's own service, or else that of the kpatch package; null when there is neither. */
  readonly unit: "kmend.service" | "kpatch.service" | null;
  /** `absent`: no such unit; `no systemd`: this system is not started by systemd. */
  readonly state: "enabled" | "disabled" | "masked" | "absent" | "no systemd";
}

/** Folders of units, the one that counts first (systemd.unit(5)); /lib where it is not a link to /usr/lib. */
const unitFolders = [
  "/etc/systemd/system",
  "/run/systemd/system",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];

/** Finds the service. Files are read rather than systemctl asked, so that it also works for the root of an image. */
export async function readBootService(root: string): Promise<BootService> {
  const own = await stateOf(root, "kmend.service");
  if (own !== "absent") return { unit: "kmend.service", state: own };
  const other = await stateOf(root, "kpatch.service");
  if (other === "enabled") return { unit: "kpatch.service", state: other };
  const systemd = (await Promise.all(unitFolders.slice(2).map((folder) => exists(join(root, folder))))).includes(true);
  return { unit: null, state: systemd ? "absent" : "no systemd" };
}

async function stateOf(root: string, unit: string): Promise<"enabled" | "disabled" | "masked" | "absent"> {
  let found = false;
  for (const folder of unitFolders) {
    const path = join(root, folder, unit);
    if (!(await exists(path))) continue;
    // The first one counts, and a link to /dev/null or an empty file masks the rest.
    if (await isMask(path)) return "masked";
    found = true;
    break;
  }
  if (!found) return "absent";
  for (const folder of unitFolders) {
    for (const name of await namesIn(root, folder, true)) {
      if (/\.(wants|requires)$/.test(name) && (await exists(join(root, folder, name, unit)))) return "enabled";
    }
  }
  return "disabled";
}

async function isMask(path: string): Promise<boolean> {
  const entry = await lstat(path);
  if (entry.isSymbolicLink()) return (await readlink(path)) === "/dev/null";
  return entry.isFile() && entry.size === 0;
}

/** What will load an installed module at the next boot, in a sentence for the operator. */
export function serviceText({ unit, state }: BootService, release: string): string {
  const when = `when ${release} is booted`;
  switch (state) {
    case "enabled":
      return unit === "kpatch.service"
        ? `kpatch.service loads it ${when}, without kmend's care for a machine that crashes with it`
        : `kmend.service loads it ${when}`;
    case "disabled":
      return "kmend.service is there, but not enabled, so nothing loads it at boot: systemctl enable kmend.service";
    case "masked":
      return "kmend.service is masked, so nothing loads it at boot: systemctl unmask kmend.service";
    case "absent":
      return "there is no kmend.service, so nothing loads it at boot: install kmend's package, or its units (system/README.md)";
    case "no systemd":
      return "this system has no systemd, so nothing loads it at boot unless a boot script calls kmend boot";
  }
}
