import { SectionFlag, SectionType } from "../elf/constants.ts";
import type { Section } from "../elf/model.ts";
import { ElfReader } from "../elf/reader.ts";
import { KmendError } from "../support/errors.ts";
import { type KernelBanner, parseBanner } from "./banner.ts";
import { type UnpackedImage, unpackImage } from "./image.ts";
import type { Kallsyms } from "./kallsyms.ts";
import { loadKallsyms } from "./kallsyms-cache.ts";

/**
 * An unpacked kernel image. Addresses are those the kernel was linked at, as signed 64-bit values in JS numbers: the kernel's top 2 GiB are
 * small negative numbers, per-CPU offsets small positive ones. `formatAddress` of `src/elf/bytes.ts` prints them the usual way.
 */
export class KernelImage {
  readonly unpacked: UnpackedImage;
  readonly elf: ElfReader;
  readonly banner: KernelBanner;
  /** GNU build id, lower case hexadecimal. */
  readonly buildId: string;
  /** Sections that are in memory and have content, in address order. */
  readonly loaded: readonly Section[];
  #kallsyms: Kallsyms | undefined;

  /** @throws KmendError `ELF_FORMAT`, `IMAGE_WITHOUT_BUILD_ID`, `IMAGE_WITHOUT_BANNER`. */
  constructor(unpacked: UnpackedImage) {
    this.unpacked = unpacked;
    this.elf = new ElfReader(unpacked.data);
    this.loaded = this.elf.sections
      .filter(
        (section) =>
          (section.flags & SectionFlag.alloc) !== 0 && section.type !== SectionType.nobits && section.size > 0,
      )
      .sort((a, b) => a.address - b.address);
    this.buildId = readBuildId(this.elf, unpacked.path);
    this.banner = readBanner(this.loaded, unpacked.path);
  }

  /** Unpacks (once) and opens the image file at `path`. */
  static async open(path: string, cache: string, signal?: AbortSignal): Promise<KernelImage> {
    return new KernelImage(await unpackImage(path, cache, signal));
  }

  /** A view of `length` bytes at an address, or undefined when no single section with content holds them all. */
  bytesAt(address: number, length: number): Uint8Array | undefined {
    const section = this.sectionAt(address);
    if (section === undefined || address + length > section.address + section.size) return undefined;
    const start = address - section.address;
    return section.data.subarray(start, start + length);
  }

  /** The section with content that holds an address. */
  sectionAt(address: number): Section | undefined {
    let low = 0;
    let high = this.loaded.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.loaded[middle] as Section).address <= address) low = middle + 1;
      else high = middle;
    }
    const section = this.loaded[low - 1];
    return section !== undefined && address < section.address + section.size ? section : undefined;
  }

  /** Content of `.BTF`, or undefined when the kernel has none. */
  get btf(): Uint8Array | undefined {
    const section = this.elf.section(".BTF");
    return section === undefined || section.size === 0 ? undefined : section.data;
  }

  /**
   * The kernel's symbol table, decoded on the first call and kept in the cache.
   * @throws KmendError `KALLSYMS_…`
   */
  get kallsyms(): Kallsyms {
    this.#kallsyms ??= loadKallsyms(this);
    return this.#kallsyms;
  }
}

/** A note of type NT_GNU_BUILD_ID (3) with the owner "GNU": sizes of name and content, type, name, content. */
const buildIdNote = Buffer.from([3, 0, 0, 0, 0x47, 0x4e, 0x55, 0]);

function readBuildId(elf: ElfReader, path: string): string {
  for (const section of elf.sections) {
    if (section.type !== SectionType.note) continue;
    const data = Buffer.from(section.data.buffer, section.data.byteOffset, section.data.byteLength);
    for (let at = data.indexOf(buildIdNote); at >= 0; at = data.indexOf(buildIdNote, at + 1)) {
      if (at < 8 || data.readUInt32LE(at - 8) !== 4) continue;
      const size = data.readUInt32LE(at - 4);
      const start = at + buildIdNote.length;
      if (size >= 8 && start + size <= data.length) return data.toString("hex", start, start + size);
    }
  }
  throw new KmendError({
    code: "IMAGE_WITHOUT_BUILD_ID",
    message: "the kernel image has no build id",
    where: path,
    why: "kmend knows kernels apart by their build id",
    hint: "give the vmlinux or vmlinuz that the kernel build left behind, not a stripped copy without notes",
  });
}

function readBanner(sections: readonly Section[], path: string): KernelBanner {
  const start = "Linux version ";
  for (const section of [...sections].sort((a, b) => Number(b.name === ".rodata") - Number(a.name === ".rodata"))) {
    const data = Buffer.from(section.data.buffer, section.data.byteOffset, section.data.byteLength);
    for (let at = data.indexOf(start); at >= 0; at = data.indexOf(start, at + 1)) {
      const end = data.indexOf(0, at);
      const text = data.toString("latin1", at, end < 0 ? at : Math.min(end, at + 1024)).trimEnd();
      if (/^Linux version \d+\.\d+\S* \(/.test(text)) return parseBanner(text);
    }
  }
  throw new KmendError({
    code: "IMAGE_WITHOUT_BANNER",
    message: "the image holds no Linux version line",
    where: path,
    hint: "check that the file is a Linux kernel",
  });
}
