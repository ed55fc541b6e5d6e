/** Type of a note that holds a build id, NT_GNU_BUILD_ID of include/uapi/linux/elf.h; its owner is `GNU`. */
const buildIdType = 3;
const owner = Buffer.from("GNU\0");

/**
 * The GNU build id in notes (gABI chapter 5, "Note Section"), in hexadecimal digits; undefined without one. Looks at each four bytes, as the glue of a patch
 * module does: between the notes of different sections there may be a gap.
 */
export function gnuBuildId(notes: Uint8Array, littleEndian: boolean): string | undefined {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let at = 0; at + 16 <= notes.length; at += 4) {
    const [nameSize, size, type] = [0, 4, 8].map((field) => view.getUint32(at + field, littleEndian));
    if (nameSize !== owner.length || type !== buildIdType || size === undefined || size === 0) continue;
    if (at + 16 + size > notes.length || !owner.equals(notes.subarray(at + 12, at + 16))) continue;
    return Buffer.from(notes.subarray(at + 16, at + 16 + size)).toString("hex");
  }
  return undefined;
}
