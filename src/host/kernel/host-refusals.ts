import { fillTexts } from "../../refusals/refusals.ts";
import { ExitCode } from "../../support/errors.ts";

interface HostRefusalText {
  readonly why: string;
  readonly hint: string;
  readonly exitCode: ExitCode;
}

/** Reason and advice of everything that a host refuses before it changes anything. `{…}` places are filled by {@link refuseOnHost}. */
export const hostRefusalTexts = {
  NO_LIVEPATCH: {
    why: "this kernel ({release}) has no live patching: there is no /sys/kernel/livepatch",
    hint: "boot a kernel with CONFIG_LIVEPATCH=y",
    exitCode: ExitCode.environment,
  },
  FTRACE_OFF: {
    why: "ftrace is switched off, and live patches redirect functions with it",
    hint: "sysctl kernel.ftrace_enabled=1",
    exitCode: ExitCode.environment,
  },
  OTHER_RELEASE: {
    why: "it is made for kernel {made}, and {running} {verb}",
    hint: "build it for this kernel: kmend build --kernel {running}",
    exitCode: ExitCode.refused,
  },
  OTHER_BUILD: {
    why: "it is proven for the build {made} of {release}, and this kernel is the build {running}",
    hint: "build it again against the image of the running kernel, or boot the kernel it was made for",
    exitCode: ExitCode.refused,
  },
  OTHER_MODULE_BUILD: {
    why: "it changes the module {module} and is proven for its build {wanted}, and {where} is the build {found}",
    hint: "build it against the module that runs here: kmend build --oot-module FILE; or put the kernel's own module back",
    exitCode: ExitCode.refused,
  },
  MODULE_NAME_TOO_LONG: {
    why: "its name has {length} characters, and the kernel allows {longest}",
    hint: "build it under a shorter name: kmend build --name",
    exitCode: ExitCode.refused,
  },
  UNTRUSTED_FILE: {
    why: "it is installed where users other than root can change it: {problem}",
    hint: "find out who wrote it, then chown root:root and chmod go-w the named paths, and install the module again",
    exitCode: ExitCode.refused,
  },
  UNSIGNED: {
    why: "it carries no signature, and this kernel loads signed modules only ({policy})",
    hint: "sign it with a key that the kernel trusts: kmend package --sign-key and --sign-cert",
    exitCode: ExitCode.policy,
  },
  LOADING_SWITCHED_OFF: {
    why: "loading and unloading modules is disabled until the next boot (sysctl kernel.modules_disabled)",
    hint: "install it with kmend install, so that it is loaded at the next boot",
    exitCode: ExitCode.policy,
  },
  TRANSITION_RUNNING: {
    why: "the transition of {patch} is not over ({state}), and the kernel runs only one at a time",
    hint: "kmend status shows the tasks it waits for; kmend unload {patch} reverts it",
    exitCode: ExitCode.environment,
  },
  OTHER_BUILD_LOADED: {
    why: "another build of {name} is loaded, and the kernel allows only one module of that name",
    hint: "kmend unload {name} first, or build this one under another name and use kmend replace",
    exitCode: ExitCode.refused,
  },
  ENDS_STOP: {
    why: "it would take the place of the stop {stop}, and {problem}",
    hint: "kmend unload {stop} first if it is no longer needed, and kmend stop again after the load if it is; kmend replace ends it",
    exitCode: ExitCode.refused,
  },
  CALLED_DIRECTLY: {
    why: "it would cover {functions} of {patch}, whose other functions call their own version of it directly and would continue to do so",
    hint: "build one cumulative module from all patches, or build {patch} with --no-replace before this one",
    exitCode: ExitCode.refused,
  },
  STAYS_IN_MEMORY: {
    why: "{name} was loaded before and is inactive; its module stays in memory until the next boot, since the kernel may hold addresses of it, and the kernel allows only one module of that name",
    hint: "build it under another name (kmend build --name), or reboot",
    exitCode: ExitCode.refused,
  },
  NAME_TAKEN: {
    why: "a module {name} that is not a live patch is loaded",
    hint: "build it under another name: kmend build --name",
    exitCode: ExitCode.refused,
  },
  DEPENDENCY_MISSING: {
    why: "it needs the module {module}, which is not loaded",
    hint: "modprobe {module}",
    exitCode: ExitCode.environment,
  },
  EARLIER_MISSING: {
    why: "it was built on top of the patch module {name}, which is not active",
    hint: "load that one first: this one contains only part of it",
    exitCode: ExitCode.refused,
  },
  FTRACE_BUSY: {
    why: "{function} is already redirected by something other than a live patch ({line})",
    hint: "end the tracing or error injection tool that does it (bpf, kprobes, fault injection, systemtap), then load again",
    exitCode: ExitCode.environment,
  },
  OBJECT_UNSETTLED: {
    why: "the module {object} that it changes is being {doing} at the moment",
    hint: "wait until that has ended, then load again",
    exitCode: ExitCode.environment,
  },
  TAKES_BACK_OTHERS: {
    why: "it replaces all loaded patch modules, and does not change what these change: {lost}",
    hint: "kmend replace FILE if that is intended; otherwise build one module from all patches, or this one with --no-replace",
    exitCode: ExitCode.refused,
  },
  NOT_CUMULATIVE: {
    why: "{problem}",
    hint: "build it without --no-replace; kmend load then leaves the loaded ones active",
    exitCode: ExitCode.refused,
  },
  NO_LIVE_PATCH: {
    why: "the module {name} is loaded, but is not a live patch",
    hint: "rmmod {name} unloads an ordinary module",
    exitCode: ExitCode.usage,
  },
  INSTALLED_AS: {
    why: "the same module is installed for {release} as {file}, and the kernel allows only one module of that name",
    hint: "kmend uninstall --kernel {release} {file} first",
    exitCode: ExitCode.refused,
  },
  NO_INITRAMFS_HOOK: {
    why: "nothing would put it into the initramfs: kmend's hook for initramfs-tools or dracut is not installed",
    hint: "install kmend's package, or its hooks as system/README.md says; without --initramfs kmend.service loads it, a little later",
    exitCode: ExitCode.environment,
  },
  NO_BOOT_SERVICE: {
    why: "kmend.service is missing or not enabled, and without it nothing records that the machine survived what its initramfs loaded",
    hint: "systemctl enable kmend.service",
    exitCode: ExitCode.environment,
  },
  HELD_BACK: {
    why: "it is held back: {why}",
    hint: "kmend load {name} loads it by hand, and allows it at boot again if the machine survives for a minute; kmend install allows it from the next boot on",
    exitCode: ExitCode.refused,
  },
  GUARD_NOT_WRITTEN: {
    why: "its load at boot cannot be recorded, so the next boot could not tell whether it crashed the machine: {why}",
    hint: "make /var/lib/kmend writable before kmend.service starts, or load it by hand: kmend load {name}",
    exitCode: ExitCode.environment,
  },
  FILE_NAME: {
    why: "its file is named {file}; the name of an installed module consists of letters, digits, dashes and underscores, and ends in .ko",
    hint: "rename the file to {name}.ko",
    exitCode: ExitCode.usage,
  },
  HELD_BY: {
    why: "the loaded modules {holders} use it",
    hint: "unload these first",
    exitCode: ExitCode.refused,
  },
} as const satisfies Record<string, HostRefusalText>;
export type HostRefusalCode = keyof typeof hostRefusalTexts;

/** One reason why a host does not do what it is asked. All of them are told, and nothing is changed. */
export interface HostRefusal {
  readonly code: HostRefusalCode;
  /** The module, or what it is about. */
  readonly what: string;
  readonly where: string;
  readonly why: string;
  readonly hint: string;
}

/** Makes a refusal from its row. @param values texts for the `{…}` places; a missing one is a programming error. */
export function refuseOnHost(
  code: HostRefusalCode,
  what: string,
  where: string,
  values: Record<string, string> = {},
): HostRefusal {
  return { code, what, where, ...fillTexts(code, hostRefusalTexts[code], values) };
}

/** Exit code for several refusals: a policy first, since no other cure helps before it is met; else that of the first. */
export function exitCodeOf(refusals: readonly HostRefusal[]): ExitCode {
  const codes: ExitCode[] = refusals.map(({ code }) => hostRefusalTexts[code].exitCode);
  if (codes.includes(ExitCode.policy)) return ExitCode.policy;
  return codes[0] ?? ExitCode.done;
}
