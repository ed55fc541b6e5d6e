import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareCompiler } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { compileUnit } from "../../src/kernel/tree/compile.ts";
import { runKbuild } from "../../src/kernel/tree/kbuild.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import { createShadow, foldersOf } from "../../src/kernel/tree/shadow.ts";
import {
  objectPath,
  parseCommand,
  readDryRun,
  type UnitCommand,
  unitBuildOptions,
} from "../../src/kernel/tree/unit-command.ts";
import { exists } from "../../src/support/cache.ts";
import { mapConcurrently } from "../../src/support/run.ts";
import { pairsIn } from "../diff.ts";

/** Folders of the kernel source whose units are used, in this order, until there are enough. */
const folders: readonly string[] = [
  ...[
    "kernel",
    "kernel/sched",
    "kernel/time",
    "kernel/locking",
    "kernel/trace",
    "kernel/cgroup",
    "kernel/bpf",
    "mm",
    "fs",
  ],
  ...[
    "fs/proc",
    "fs/ext4",
    "net/core",
    "net/ipv4",
    "net/ipv6",
    "block",
    "lib",
    "crypto",
    "drivers/base",
    "drivers/pci",
  ],
  ...[
    "drivers/usb/core",
    "drivers/scsi",
    "drivers/md",
    "net/sched",
    "net/netfilter",
    "fs/btrfs",
    "fs/nfs",
    "fs/xfs",
    "sound/core",
  ],
];

/**
 * Compiles units of the newest kernel twice, the second time with a small edit, and keeps the pairs in the cache.
 * @returns the folder that holds `NAME.a.o` and `NAME.b.o` of each pair.
 */
export async function makePairs(cache: string, wanted: number, jobs: number): Promise<string> {
  const kernel = await findTargetKernel({ kernel: "newest" });
  const store = join(cache, `diff-${kernel.image.buildId}`);
  await mkdir(store, { recursive: true });
  const have = new Set(await pairsIn(store));
  if (have.size >= wanted) return store;
  const compiler = await compareCompiler(kernel.image.banner);
  const tree = await prepareTree(kernel, { compiler: compiler.program });
  const scratch = await mkdtemp(join(tmpdir(), "kmend-pairs-"));
  try {
    for (const folder of folders) {
      if (have.size >= wanted) break;
      const commands = (await unitsIn(tree, folder, join(scratch, "log"))).slice(0, wanted - have.size);
      await mapConcurrently(commands, jobs, async (command) => {
        const name = command.source.replaceAll("/", "__").replace(/\.c$/, "");
        if (have.has(name) || !(await makePair(tree, command, join(scratch, name), join(store, name)))) return;
        have.add(name);
        console.error(`  ${have.size} of ${wanted}: ${command.source}`);
      });
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return store;
}

/** Commands of the units of a folder that this kernel's configuration builds. */
export async function unitsIn(tree: PreparedTree, folder: string, logFile: string): Promise<UnitCommand[]> {
  const sources = (await readdir(join(tree.path, folder)))
    .filter((name) => name.endsWith(".c") && !name.endsWith(".mod.c"))
    .map((name) => `${folder}/${name}`)
    .sort();
  const objects = sources.map(objectPath);
  const settings = await unitBuildOptions(tree.path);
  const options = { ...settings, dryRun: true, keepGoing: true, logFile, allowFailure: true };
  const { stdout } = await runKbuild(tree.environment, tree.path, objects, options);
  const { recorded } = readDryRun(stdout, objects);
  return sources.flatMap((source) => {
    const text = recorded.get(objectPath(source));
    return text === undefined ? [] : [parseCommand(source, objectPath(source), text)];
  });
}

/** Compiles both builds of a unit. Returns false for a unit that has no place for the edit or that does not compile by its command alone. */
async function makePair(tree: PreparedTree, command: UnitCommand, scratch: string, place: string): Promise<boolean> {
  const edited = withEdit(await readFile(join(tree.path, command.source), "utf8"));
  if (edited === undefined) return false;
  try {
    for (const [side, files] of [
      ["a", new Map<string, Uint8Array>()],
      ["b", new Map([[command.source, Buffer.from(edited)]])],
    ] as const) {
      const shadow = join(scratch, side);
      createShadow(tree.path, shadow, files, foldersOf(command.object));
      await compileUnit(command, shadow, { logFile: join(scratch, "log") });
    }
    if (!(await exists(join(scratch, "a", command.object)))) return false;
    await copyInto(join(scratch, "a", command.object), `${place}.a.o`);
    await copyInto(join(scratch, "b", command.object), `${place}.b.o`);
    return true;
  } catch {
    return false;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The file may be on another disk than the cache. */
async function copyInto(from: string, to: string): Promise<void> {
  await copyFile(from, `${to}.tmp`);
  await rename(`${to}.tmp`, to);
}

/** One instruction more before the middle one of the returns that stand alone in a function's body. */
function withEdit(source: string): string | undefined {
  const returns = [...source.matchAll(/;\n\treturn /g)];
  const at = returns[returns.length >> 1]?.index;
  return at === undefined
    ? undefined
    : `${source.slice(0, at)};\n\tasm volatile("nop"); return ${source.slice(at + 10)}`;
}
