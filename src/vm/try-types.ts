import type { Progress } from "../support/progress.ts";

/** The part of a target kernel that a virtual machine needs. */
export interface BootableKernel {
  /** As in `uname -r`. */
  readonly release: string;
  /** The bootable image, `vmlinuz-<release>`. */
  readonly imagePath: string;
  /** `…/lib/modules/<release>`, or a kernel tree with built modules; undefined when there are none. */
  readonly modulesDir: string | undefined;
}

/** What {@link tryModule} is asked to do. */
export interface TryOptions {
  readonly kernel: BootableKernel;
  /** The patch module, a `.ko` file. */
  readonly modulePath: string;
  /** Patch modules that it goes on top of, oldest first; they are put in force before anything else. */
  readonly earlier?: readonly string[] | undefined;
  /** Shell commands that are run in the guest before, while and after the patch is in force. */
  readonly probes?: readonly string[] | undefined;
  /** Kernel modules to load first, by name, besides those that the patch module changes; their dependencies come along. */
  readonly modules?: readonly string[] | undefined;
  /** Files of modules that are not the kernel's own; they are loaded too, with what they depend on. */
  readonly moduleFiles?: readonly string[] | undefined;
  /** Wall time for the whole guest in seconds; default 120. */
  readonly timeoutSeconds?: number | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One probe and what it printed, standard output and error together, without the last line feed. */
export interface ProbeResult {
  readonly command: string;
  readonly before: string;
  readonly loaded: string;
  readonly after: string;
  /** Present when two runs before the load already differed, so that the third run says nothing. */
  readonly varies?: true;
}

/** How often a function that the patch module puts in force was called while it was active, the probes included. */
export interface CalledFunction {
  /** `vmlinux` or a module, and the name there. */
  readonly object: string;
  readonly name: string;
  readonly calls: number;
}

/** A task that kept a transition from ending. */
export interface StalledTask {
  readonly task: number;
  readonly name: string;
  /** Its kernel stack, innermost function first, as in /proc/TID/stack. */
  readonly stack: readonly string[];
}

/** The stable `--json` of `kmend try`. */
export interface TryResult {
  readonly schema: 1;
  readonly verdict: "passed" | "failed";
  /** Release of the kernel that was booted. */
  readonly kernel: string;
  /** Name of the patch module as the kernel knows it. */
  readonly module: string;
  /** SHA-256 of its file; missing in results of older versions. */
  readonly sha256?: string | undefined;
  /** True when the module holds itself in memory until the next boot: it was taken out of force, and not unloaded. */
  readonly staysInMemory: boolean;
  /** From the start of the transition to its end; null when it never ended. */
  readonly transitionMilliseconds: number | null;
  readonly probes: readonly ProbeResult[];
  /** Calls of the functions in force; missing where they could not be counted, and in results of older versions. */
  readonly calls?: readonly CalledFunction[] | undefined;
  /** Kernel messages that decided the verdict; for a passed one what livepatch said. */
  readonly kernelLog: readonly string[];
  /** Why the verdict is `failed`. */
  readonly failure: string | null;
  readonly stalledTasks: readonly StalledTask[];
  /** What a reader of the verdict should know of the trial itself, such as a module that does not start on the virtual machine. */
  readonly remarks: readonly string[];
  /** `kvm` or, where that does not work, `tcg` (software emulation). */
  readonly accelerator: Accelerator;
  readonly milliseconds: Readonly<Record<string, number>>;
}

export type Accelerator = "kvm" | "tcg";
