import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gnuBuildId } from "../../elf/build-id.ts";
import { readState, readSwitch } from "./host.ts";

/** What decides whether the kernel takes a module without a signature that it trusts. */
export interface SignaturePolicy {
  /** Why unsigned modules are refused; null when they are not. */
  readonly enforcedBy: string | null;
  /** No module can be loaded or unloaded until the next boot. */
  readonly loadingSwitchedOff: boolean;
}

/** Build id of the running kernel in hexadecimal digits, from the notes that it shows; undefined when it has none. */
export async function readKernelBuildId(root: string): Promise<string | undefined> {
  const notes = await readFile(join(root, "/sys/kernel/notes")).catch(() => undefined);
  return notes === undefined ? undefined : gnuBuildId(notes, hostIsLittleEndian);
}

const hostIsLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * Reads `module.sig_enforce`, the state of lockdown (security/lockdown/lockdown.c: `integrity` and above want signed modules), and
 * `kernel.modules_disabled`.
 */
export async function readSignaturePolicy(root: string): Promise<SignaturePolicy> {
  const enforced = await readSwitch(root, "/sys/module/module/parameters/sig_enforce");
  const lockdown = /\[(\w+)\]/.exec((await readState(root, "/sys/kernel/security/lockdown")) ?? "")?.[1];
  const reasons = [
    enforced === true ? "module.sig_enforce" : "",
    lockdown === undefined || lockdown === "none" ? "" : `lockdown: ${lockdown}`,
  ].filter((reason) => reason !== "");
  return {
    enforcedBy: reasons.length === 0 ? null : reasons.join(", "),
    loadingSwitchedOff: (await readSwitch(root, "/proc/sys/kernel/modules_disabled")) === true,
  };
}

/** The first two numbers of a release. */
export function kernelVersion(release: string): readonly [number, number] {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}
