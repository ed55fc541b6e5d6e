/** What strerror(3), and kmod in its place, say for the error numbers that kernel code returns most. */
const errorNames: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/Device or resource busy/i, "EBUSY"],
  [/Operation not permitted/i, "EPERM"],
  [/Permission denied/i, "EACCES"],
  [/Invalid (?:argument|parameters)/i, "EINVAL"],
  [/No such device or address/i, "ENXIO"],
  [/No such device/i, "ENODEV"],
  [/No such file or directory/i, "ENOENT"],
  [/unknown symbol in module/i, "ENOENT"],
  [/Invalid module format|Exec format error/i, "ENOEXEC"],
  [/Cannot allocate memory|Out of memory/i, "ENOMEM"],
  [/File exists/i, "EEXIST"],
  [/Resource temporarily unavailable/i, "EAGAIN"],
  [/Operation not supported/i, "EOPNOTSUPP"],
  [/Function not implemented/i, "ENOSYS"],
  [/Input\/output error/i, "EIO"],
  [/Bad address/i, "EFAULT"],
  [/Numerical result out of range/i, "ERANGE"],
  [/timed out/i, "ETIMEDOUT"],
];

/**
 * Tells the refusal of a patch's own callback from an error of the kernel's: the kernel hands the callback's error number through, and only its log says
 * whose it is (klp_pre_patch_callback() in klp_enable_patch(), kernel/livepatch/core.c).
 * @param log lines of the kernel log since the load began.
 * @param said what insmod printed.
 * @returns a sentence, or undefined when no callback refused.
 */
export function callbackRefusal(log: readonly string[], said: string): string | undefined {
  const object = log
    .map((line) => /livepatch: pre-patch callback failed for object '([^']*)'/.exec(line)?.[1])
    .find(Boolean);
  if (object === undefined) return undefined;
  // A path in front of it may hold any words.
  const text = said.slice(said.lastIndexOf(":") + 1).trim();
  const name = errorNames.find(([pattern]) => pattern.test(text))?.[1];
  const of = object === "vmlinux" ? "" : ` for ${object}`;
  return `the patch's own callback refused${of} (${name === undefined ? text || "no error number" : `-${name}`})`;
}
