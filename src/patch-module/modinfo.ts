import { ElfReader } from "../elf/reader.ts";

/**
 * The `key=value` strings of a module's .modinfo section (include/linux/moduleparam.h, __MODULE_INFO).
 * @throws ElfFormatError when the file is no ELF object.
 */
export function readModinfo(file: Uint8Array | ElfReader): ReadonlyMap<string, readonly string[]> {
  const section = (file instanceof ElfReader ? file : new ElfReader(file)).section(".modinfo");
  const info = new Map<string, string[]>();
  for (const entry of section === undefined ? [] : Buffer.from(section.data).toString("utf8").split("\0")) {
    const equals = entry.indexOf("=");
    if (equals < 0) continue;
    const key = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    const values = info.get(key);
    if (values === undefined) info.set(key, [value]);
    else values.push(value);
  }
  return info;
}
