import { readState } from "../kernel/host.ts";

const switches = ["kmend.enable=0", "kpatch.enable=0"];

/** The word of the kernel's command line that switches loading at boot off; undefined when there is none. */
export async function readBootSwitch(root: string): Promise<string | undefined> {
  const words = ((await readState(root, "/proc/cmdline")) ?? "").split(/\s+/);
  return words.find((word) => switches.includes(word));
}
