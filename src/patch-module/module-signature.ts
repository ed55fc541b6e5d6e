/** What ends a signed module (kernel/module_signature.c). */
export const signatureMagic = Buffer.from("~Module signature appended~\n", "latin1");

/** True when a module carries a signature; who made it is not asked. */
export function isSigned(module: Uint8Array): boolean {
  return module.length > signatureMagic.length && signatureMagic.equals(module.subarray(-signatureMagic.length));
}
