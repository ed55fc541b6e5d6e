import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ExitCode, KmendError, systemErrorCode } from "../support/errors.ts";
import type { Accelerator } from "./try-types.ts";

/** A guest that is about to be started. */
export interface Guest {
  readonly accelerator: Accelerator;
  readonly imagePath: string;
  readonly initramfs: string;
  /** Folder for the console's log. */
  readonly folder: string;
  /** Memory in MiB; default 512. */
  readonly megabytes?: number | undefined;
  /** Processors; default 2. */
  readonly processors?: number | undefined;
  /** Raw disk images, which the guest may write to: /dev/vda and so on. Default none. */
  readonly disks?: readonly string[] | undefined;
  /** Kernel parameters besides those that every guest gets. */
  readonly parameters?: readonly string[] | undefined;
  /** Wall time limit in seconds. */
  readonly timeoutSeconds: number;
  /** Receives what the guest writes to its second serial line. True: all is said, and the guest need not shut down. */
  readonly onData: (piece: string) => boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface GuestEnd {
  readonly timedOut: boolean;
  /** Exit code of QEMU; null when a signal ended it. */
  readonly exitCode: number | null;
  /** What QEMU itself said. */
  readonly stderr: string;
  /** What the kernel wrote to its console, the first serial line. */
  readonly console: string;
}

/**
 * Kernel parameters (Documentation/admin-guide/kernel-parameters.txt): a panic ends the guest, the console says nothing until it is told to.
 * Everything else stays as the distribution has it, address randomization included.
 */
const kernelParameters = [
  ...["console=ttyS0,115200", "loglevel=1", "printk.time=1", "panic=-1"],
  // Where QEMU gets no processor for a moment, the kernel counts too few ticks at boot, and gives up ("IO-APIC + timer doesn't work").
  "no_timer_check",
];

/**
 * Software emulation runs all processors of the guest in one thread. With a thread for each, as QEMU does by default, a processor may translate code
 * while another one changes it, and the translation of the old bytes stays: a breakpoint that the kernel put over an instruction for the time of its
 * change (text_poke_bp_batch in arch/x86/kernel/alternative.c) is then run for ever after, and ends in `Oops: int3`. Linux 6.12 changes its code so in
 * every transition, and guests died of it in `irqentry_exit`, also with a live patch that kmend had no part in.
 */
const accelerators: Readonly<Record<Accelerator, string>> = { kvm: "kvm", tcg: "tcg,thread=single" };

/** QEMU's arguments: no devices but two serial lines and the disks asked for, the kernel's console in a file and our data on standard output. */
function qemuArguments(guest: Guest): string[] {
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...["-machine", "q35,usb=off,sata=off,smbus=off,vmport=off"],
    ...["-accel", accelerators[guest.accelerator]],
    ...[
      "-cpu",
      guest.accelerator === "kvm" ? "host" : "max",
      "-smp",
      `${guest.processors ?? 2}`,
      "-m",
      `${guest.megabytes ?? 512}`,
    ],
    ...["-chardev", `file,id=console,path=${consolePath(guest).replaceAll(",", ",,")}`, "-serial", "chardev:console"],
    ...["-chardev", "stdio,id=data,signal=off", "-serial", "chardev:data"],
    ...(guest.disks ?? []).flatMap((path) => ["-drive", `if=virtio,format=raw,file=${path.replaceAll(",", ",,")}`]),
    ...[
      "-kernel",
      guest.imagePath,
      "-initrd",
      guest.initramfs,
      "-append",
      [...kernelParameters, ...(guest.parameters ?? [])].join(" "),
    ],
  ];
}

/**
 * Runs a guest to its end. It is stopped, with its whole process group, when the time is up or the signal is aborted; should this process
 * be killed, timeout(1) ends it a little later.
 * @throws KmendError `PROGRAM_MISSING`; the signal's reason when it was aborted.
 */
export async function runGuest(guest: Guest): Promise<GuestEnd> {
  guest.signal?.throwIfAborted();
  const backstop = ["--signal=KILL", String(guest.timeoutSeconds + 10), "qemu-system-x86_64"];
  const child = spawn("timeout", [...backstop, ...qemuArguments(guest)], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  let timedOut = false;
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch (error) {
      if (systemErrorCode(error) !== "ESRCH") throw error;
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, guest.timeoutSeconds * 1000);
  guest.signal?.addEventListener("abort", kill, { once: true });
  child.stdout.setEncoding("latin1").on("data", (piece: string) => {
    if (guest.onData(piece)) kill();
  });
  child.stderr.setEncoding("utf8").on("data", (piece: string) => {
    stderr += piece;
  });
  try {
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    guest.signal?.throwIfAborted();
    if (exitCode === 127) throw missingQemu();
    const console = await readFile(consolePath(guest), "utf8").catch(() => "");
    return { timedOut, exitCode, stderr, console };
  } finally {
    clearTimeout(timer);
    guest.signal?.removeEventListener("abort", kill);
    kill();
  }
}

function consolePath(guest: Guest): string {
  return join(guest.folder, "console.log");
}

function missingQemu(): KmendError {
  return new KmendError({
    code: "PROGRAM_MISSING",
    message: "qemu-system-x86_64 is not installed",
    hint: "kmend doctor shows the command that installs it",
    exitCode: ExitCode.environment,
  });
}
