import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { PreparedTree } from "../../src/kernel/tree/prepare.ts";
import type { UnitCommand } from "../../src/kernel/tree/unit-command.ts";
import { sha256 } from "../../src/support/cache.ts";
import { unitsIn } from "../diff/make-pairs.ts";

/** Where units are drawn from: parts of the image and modules, of many kinds. */
const folders: readonly string[] = [
  ...["arch/x86/kernel", "arch/x86/kvm", "arch/x86/mm", "block", "crypto", "drivers/base", "drivers/block"],
  ...["drivers/char", "drivers/hid", "drivers/input", "drivers/md", "drivers/net", "drivers/net/ethernet/intel/e1000e"],
  ...["drivers/nvme/host", "drivers/pci", "drivers/scsi", "drivers/tty", "drivers/usb/core", "drivers/virtio"],
  ...[
    "fs",
    "fs/btrfs",
    "fs/ext4",
    "fs/fuse",
    "fs/nfs",
    "fs/overlayfs",
    "fs/proc",
    "fs/xfs",
    "io_uring",
    "ipc",
    "kernel",
  ],
  ...["kernel/bpf", "kernel/cgroup", "kernel/locking", "kernel/sched", "kernel/time", "kernel/trace", "lib", "mm"],
  ...["net/core", "net/ipv4", "net/ipv6", "net/netfilter", "net/sched", "net/sctp", "net/unix", "security/keys"],
  ...["security/selinux", "sound/core", "virt/lib"],
];

/** Bytes: a unit is compiled twice for each of its mutants. */
const largestSource = 40_000;

/** Units of many folders, as many of each as are needed, chosen by the seed. */
export async function chooseUnits(
  tree: PreparedTree,
  wanted: number,
  seed: string,
  logFile: string,
  largest = largestSource,
): Promise<UnitCommand[]> {
  const lists: UnitCommand[][] = [];
  for (const folder of folders) {
    const isThere = await readdir(join(tree.path, folder)).catch(() => []);
    if (isThere.length === 0) continue;
    const units = (await unitsIn(tree, folder, logFile)).filter(({ needsKbuild }) => needsKbuild !== true);
    const sizes = await Promise.all(units.map(async ({ source }) => (await stat(join(tree.path, source))).size));
    const small = units.filter((_, index) => (sizes[index] as number) <= largest);
    lists.push(shuffledBy(small, ({ source }) => sha256(seed, source)));
  }
  const ordered = shuffledBy(lists, (list) => sha256(seed, list[0]?.source ?? ""));
  const chosen: UnitCommand[] = [];
  for (let round = 0; chosen.length < wanted; round++) {
    const row = ordered.flatMap((list) => list.slice(round, round + 1));
    if (row.length === 0) break;
    chosen.push(...row.slice(0, wanted - chosen.length));
  }
  return chosen;
}

/** In the order of a digest: the same for a seed, and without a pattern. */
export function shuffledBy<Value>(values: readonly Value[], key: (value: Value) => string): Value[] {
  return values
    .map((value) => [key(value), value] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, value]) => value);
}
