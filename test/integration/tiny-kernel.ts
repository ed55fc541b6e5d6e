import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { testedKernel } from "./stock-kernel.ts";

/**
 * What a kernel needs so that it boots in QEMU with a serial console and a first file system, loads modules, and can be live patched and proven: everything
 * else is off, and the whole of it compiles in a few minutes.
 */
const options = `
CONFIG_64BIT=y
CONFIG_SMP=y
CONFIG_EXPERT=y
CONFIG_CC_OPTIMIZE_FOR_PERFORMANCE=y
CONFIG_KERNEL_GZIP=y
CONFIG_LOCALVERSION="-tiny"
CONFIG_PRINTK=y
CONFIG_BUG=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_POSIX_TIMERS=y
CONFIG_MULTIUSER=y
CONFIG_TTY=y
CONFIG_SERIAL_8250=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_BLK_DEV_INITRD=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_PROC_FS=y
CONFIG_PROC_SYSCTL=y
CONFIG_SYSFS=y
CONFIG_DEVTMPFS=y
CONFIG_MODULES=y
CONFIG_MODULE_UNLOAD=y
CONFIG_KALLSYMS=y
CONFIG_KALLSYMS_ALL=y
CONFIG_FTRACE=y
CONFIG_FUNCTION_TRACER=y
CONFIG_DYNAMIC_FTRACE=y
CONFIG_UNWINDER_ORC=y
CONFIG_STACKTRACE=y
CONFIG_LIVEPATCH=y
CONFIG_DEBUG_KERNEL=y
CONFIG_DEBUG_INFO_DWARF5=y
CONFIG_BPF_SYSCALL=y
CONFIG_DEBUG_INFO_BTF=y
CONFIG_BINFMT_MISC=m
CONFIG_IKCONFIG=y
`;

/** An unpacked kernel source and, beside it, a configuration for a kernel that is built in minutes. */
export interface TinyKernel {
  /** Top of the source tree, in which nothing was ever built. */
  readonly tree: string;
  readonly config: string;
}

/**
 * Unpacks the source of the tested stock kernel and makes the configuration, which has one module, `fs/binfmt_misc.ko`: one that ftrace can follow, as it cannot in `lib`.
 * @param folder gets the tree (1.4 GB) and the configuration.
 * @param more further lines of configuration.
 * @param from the stock kernel whose source it is, and words for make that choose another compiler.
 */
export async function tinyKernel(
  folder: string,
  more = "",
  from: { readonly release?: string; readonly make?: readonly string[] } = {},
): Promise<TinyKernel> {
  const kernel = await findTargetKernel({ kernel: from.release ?? testedKernel });
  const source = await kernel.source();
  const tree = join(folder, "linux");
  const made = join(folder, "configured");
  mkdirSync(tree, { recursive: true });
  mkdirSync(made, { recursive: true });
  execFileSync("tar", ["-xf", source.path, "-C", tree, "--strip-components=1"], {
    env: { ...process.env, XZ_DEFAULTS: "-T0" },
  });
  const wanted = join(folder, "wanted.config");
  writeFileSync(wanted, `${options.trimStart()}${more.trimStart()}`);
  const words = ["-s", "-C", tree, `O=${made}`, `KCONFIG_ALLCONFIG=${wanted}`, ...(from.make ?? []), "allnoconfig"];
  execFileSync("make", words, { stdio: ["ignore", "ignore", "inherit"] });
  return { tree, config: join(made, ".config") };
}
