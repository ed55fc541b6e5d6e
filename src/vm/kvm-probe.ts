import { constants } from "node:fs";
import { access, readFile } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { cacheRoot, sha256, writeFileAtomically } from "../support/cache.ts";
import { makeFolder } from "../support/make-folder.ts";
import { bootOnlyScript } from "./guest-script.ts";
import { makeInitramfs } from "./initramfs.ts";
import { runGuest } from "./qemu.ts";
import { FrameDecoder } from "./serial-frames.ts";
import type { Accelerator } from "./try-types.ts";

/** A working KVM boots the smallest guest in about one second; a broken one aborts or hangs. */
const trialSeconds = 5;

/**
 * Chooses between KVM and software emulation. A /dev/kvm that can be opened may still abort or hang (nested virtualization that is only
 * half there), so one tiny guest is tried; the answer is kept in the cache until the host boots again.
 * @param folder an empty folder for the trial.
 */
export async function chooseAccelerator(
  imagePath: string,
  folder: string,
  signal?: AbortSignal | undefined,
): Promise<Accelerator> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const key = sha256(bootId, release());
  const known = await readVerdict(key);
  if (known !== undefined) return known;
  const verdict = (await kvmBoots(imagePath, folder, signal)) ? "kvm" : "tcg";
  // A cache that cannot be written only means that the next run tries again.
  await writeFileAtomically(verdictPath(), `${JSON.stringify({ key, accelerator: verdict })}\n`).catch(() => {});
  return verdict;
}

async function kvmBoots(imagePath: string, folder: string, signal?: AbortSignal | undefined): Promise<boolean> {
  await makeFolder(folder);
  const token = "trial";
  const decoder = new FrameDecoder(token);
  const initramfs = await makeInitramfs(folder, { init: bootOnlyScript(token) });
  await runGuest({
    accelerator: "kvm",
    imagePath,
    initramfs,
    folder,
    timeoutSeconds: trialSeconds,
    onData: (piece) => {
      decoder.push(piece);
      return decoder.find("booted") !== undefined;
    },
    signal,
  });
  return decoder.find("booted") !== undefined;
}

function verdictPath(): string {
  return join(cacheRoot(), "accelerator.json");
}

async function readVerdict(key: string): Promise<Accelerator | undefined> {
  try {
    const stored = JSON.parse(await readFile(verdictPath(), "utf8")) as { key?: unknown; accelerator?: unknown };
    if (stored.key !== key) return undefined;
    return stored.accelerator === "kvm" || stored.accelerator === "tcg" ? stored.accelerator : undefined;
  } catch {
    return undefined;
  }
}
