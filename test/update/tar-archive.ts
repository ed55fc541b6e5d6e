/** One entry of an archive. */
export interface Entry {
  readonly name: string;
  readonly content?: string | Uint8Array;
  /** POSIX ustar: 0 file, 1 hard link, 2 symbolic link, 3 device, 5 folder, x pax header. */
  readonly type?: string;
  readonly link?: string;
  /** Size that the header claims. */
  readonly size?: number;
}

/** A tar archive with anything in it. */
export function tar(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content = "", type = "0", link = "", size } of entries) {
    const bytes = Buffer.from(content);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100, "latin1");
    header.write("0000644\0", 100);
    header.write(`${(size ?? bytes.length).toString(8).padStart(11, "0")}\0`, 124);
    header.write("        ", 148);
    header.write(type, 156);
    header.write(link, 157, 100, "latin1");
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    parts.push(header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}
