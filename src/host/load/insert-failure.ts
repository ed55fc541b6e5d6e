import { ExitCode, KmendError } from "../../support/errors.ts";

interface FailureRow {
  /** The C library's text of the error number that init_module(2) gave. */
  readonly pattern: RegExp;
  readonly why: string;
  readonly hint: string;
  readonly policy?: true;
}

/** Errors of init_module(2) and of klp_enable_patch() (kernel/livepatch/core.c), with what they mean for a patch module. */
const rows: readonly FailureRow[] = [
  {
    pattern: /Key was rejected by service|Required key not available|Key has (?:expired|been revoked)/i,
    why: "the kernel loads modules only with a signature of a key that it trusts",
    hint: "sign the module with such a key (kmend package --sign-key), or enrol the key with mokutil --import",
    policy: true,
  },
  {
    pattern: /Operation not permitted|Permission denied/i,
    why: "the kernel, or its security policy, does not allow this process to load modules",
    hint: "look for sysctl kernel.modules_disabled, lockdown, SELinux denials (ausearch -m avc) and missing CAP_SYS_MODULE",
    policy: true,
  },
  {
    pattern: /Device or resource busy/i,
    why: "another transition is running, or another user of ftrace may change one of the functions",
    hint: "kmend status shows the transition; kmend load --dry-run FILE names the users of ftrace",
  },
  {
    pattern: /Invalid module format|Exec format error|invalid format/i,
    why: "the kernel does not accept the file as a module: it is damaged or made for another kernel",
    hint: "build it for this kernel with kmend build; dmesg shows what the kernel says about it",
  },
  {
    pattern: /File exists/i,
    why: "a module of that name is loaded already",
    hint: "kmend list shows what is loaded; kmend unload removes it",
  },
  {
    pattern: /Unknown symbol/i,
    why: "the module needs a symbol that this kernel, with the modules it has loaded, does not have",
    hint: "load the modules it depends on first; dmesg names the symbol",
  },
  {
    pattern: /Invalid (?:argument|parameters)/i,
    why: "livepatch refuses the patch: a function or symbol is missing, or it is not compatible with a loaded patch",
    hint: "dmesg shows what livepatch says about it; kmend verify shows whether the module matches this kernel",
  },
  {
    pattern: /No such device/i,
    why: "livepatch is not ready on this kernel",
    hint: "a kernel with CONFIG_LIVEPATCH is needed",
  },
  {
    pattern: /Cannot allocate memory|Out of memory/i,
    why: "the kernel is short of memory",
    hint: "free some memory and load it again",
  },
];

/** What a failed load means. @param said all that the program printed. */
export function insertFailure(file: string, said: string): KmendError {
  const row = rows.find(({ pattern }) => pattern.test(said));
  return new KmendError({
    code: row?.policy === true ? "LOAD_FORBIDDEN" : "LOAD_FAILED",
    message: `the kernel does not load ${file}`,
    why: row === undefined ? said : `${row.why}\n${said}`,
    hint: row?.hint ?? "dmesg shows what the kernel says about it",
    exitCode: row?.policy === true ? ExitCode.policy : ExitCode.failure,
  });
}
