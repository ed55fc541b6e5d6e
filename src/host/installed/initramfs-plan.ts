import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { KmendError } from "../../support/errors.ts";
import { findProgram } from "../../support/find-program.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { run } from "../../support/run.ts";
import { bootRecordsOf } from "../boot/boot-record.ts";
import { removeDurably, writeDurably } from "../kernel/durable.ts";
import type { Steps } from "../kernel/steps.ts";
import { untrusted } from "../kernel/trusted-path.ts";
import { installedModules } from "./installed.ts";

/** Where it is listed, in a file for each release, what an initramfs gets and loads. Read by the hooks (system/README.md). */
const initramfsPlanFolder = "/var/lib/kmend/initramfs";

/** A program that makes initramfs images, where kmend's hook for it is installed. */
export interface InitramfsMaker {
  readonly name: "initramfs-tools" | "dracut";
  /** Command that makes the image of a kernel anew. */
  command(release: string): readonly [string, ...string[]];
}

interface MakerRow extends InitramfsMaker {
  readonly hooks: readonly string[];
}

const makers: readonly MakerRow[] = [
  {
    name: "initramfs-tools",
    hooks: ["/etc/initramfs-tools/hooks/kmend", "/usr/share/initramfs-tools/hooks/kmend"],
    command: (release) => ["update-initramfs", "-u", "-k", release],
  },
  {
    name: "dracut",
    hooks: ["/usr/lib/dracut/modules.d/90kmend/module-setup.sh"],
    command: (release) => ["dracut", "--force", "--kver", release],
  },
];

/** The maker of initramfs images whose hook is there and whose program is installed; undefined when there is none. */
export async function findInitramfsMaker(root: string): Promise<InitramfsMaker | undefined> {
  for (const maker of makers) {
    const hooks = await Promise.all(maker.hooks.map((hook) => exists(join(root, hook))));
    if (hooks.includes(true) && (await findProgram(maker.command("")[0])) !== undefined) return maker;
  }
  return undefined;
}

function planPath(root: string, release: string): string {
  return join(root, initramfsPlanFolder, release);
}

/** Whether a kernel's initramfs loads patch modules. */
export async function hasInitramfsPlan(root: string, release: string): Promise<boolean> {
  return exists(planPath(root, release));
}

/** A line for each installed module in the order of their loading: name, file, SHA-256, build id of the kernel, modules that come before; `-` for nothing. */
async function planText(root: string, release: string): Promise<string> {
  const lines: string[] = [];
  for (const { file, module, path } of await installedModules(root, release)) {
    if (module === undefined || !/^[\w-]+\.ko$/.test(file) || (await untrusted(root, path)) !== undefined) continue;
    const after = (module.manifest?.after ?? []).map(({ name }) => name.replaceAll("-", "_"));
    const fields = [module.name, file, module.sha256, module.manifest?.kernel.buildId, after.join(",")];
    lines.push(`${fields.map((field) => field || "-").join(" ")}\n`);
  }
  return lines.join("");
}

/** Whether a kernel's initramfs is to load something else than what is installed, as after a change that was killed. */
export async function isInitramfsPlanStale(root: string, release: string): Promise<boolean> {
  const text = await readFile(planPath(root, release), "utf8").catch(() => undefined);
  return text !== undefined && text !== (await planText(root, release));
}

/** Writes what the initramfs of a kernel is to load: all that is installed for it. */
export async function writeInitramfsPlan(root: string, release: string, steps: Steps): Promise<void> {
  const path = planPath(root, release);
  const text = await planText(root, release);
  if (text === "" && !steps.dryRun) {
    await steps.take(`rm ${path}`, async () => void (await removeDurably(path)));
    return;
  }
  // The initramfs makes no folders in the system's root.
  const records = bootRecordsOf(root, release);
  await steps.take(`mkdir -p ${records}`, async () => void (await makeFolder(records, 0o755)));
  await steps.take(`write ${path}, fsync`, () => writeDurably(path, text));
}

/**
 * Has the initramfs of a kernel made anew.
 * @throws KmendError `INITRAMFS_FAILED`; what is installed stays installed, and its service loads it.
 */
export async function makeInitramfs(root: string, release: string, steps: Steps): Promise<void> {
  const maker = await findInitramfsMaker(root);
  if (maker === undefined)
    throw failed(release, "kmend's hook for initramfs-tools or dracut is gone", "install kmend's package again");
  const [program, ...words] = maker.command(release);
  const command = [program, ...words].join(" ");
  await steps.take(command, async () => {
    const result = await run(program, words, { allowFailure: true });
    if (result.exitCode !== 0) {
      throw failed(release, result.all.trim().split("\n").slice(-10).join("\n"), `see to that, then run ${command}`);
    }
  });
}

function failed(release: string, why: string, hint: string): KmendError {
  return new KmendError({
    code: "INITRAMFS_FAILED",
    message: `the initramfs of ${release} could not be rebuilt`,
    why,
    hint: `${hint}; until then it loads nothing that is not installed as it holds it, and kmend.service loads the rest`,
  });
}
