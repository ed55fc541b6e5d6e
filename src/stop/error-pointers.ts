/** MAX_ERRNO of include/linux/err.h. */
const greatestError = 4095;

/**
 * Whether code of x86-64 has error pointers as constants: `mov $-ENOMEM,%rax` and the like, with any register. A function that returns a pointer and has
 * one means it for its result; one that has none may still hand on those of others.
 */
export function hasErrorPointers(code: Uint8Array): boolean {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  for (let at = 0; at + 7 <= code.length; at++) {
    // REX.W C7 /0 id: a 64-bit register gets a 32-bit constant with its sign (AMD64 manual, MOV); REX.B tells the upper registers.
    const prefix = code[at];
    if ((prefix !== 0x48 && prefix !== 0x49) || code[at + 1] !== 0xc7 || ((code[at + 2] as number) & 0xf8) !== 0xc0)
      continue;
    const value = view.getInt32(at + 3, true);
    if (value < 0 && value >= -greatestError) return true;
  }
  return false;
}
