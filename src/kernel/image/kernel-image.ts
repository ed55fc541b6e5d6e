import { Bytes } from "../../elf/bytes.ts";
import { EHDR_SIZE, SectionFlag, SectionType, SHDR_SIZE } from "../../elf/constants.ts";
import { ElfFormatError } from "../../elf/format-error.ts";
import { byteOrder, readFileHeader } from "../../elf/header.ts";
import type { Section } from "../../elf/model.ts";
import { ElfReader } from "../../elf/reader.ts";
import { KmendError } from "../../support/errors.ts";
import { type KernelBanner, parseBanner } from "./banner.ts";
import { rememberOfFile } from "./file-digest.ts";
import { type UnpackedImage, unpackImage } from "./image.ts";
import type { Kallsyms } from "./kallsyms.ts";
import { loadKallsyms } from "./kallsyms-cache.ts";
import type { LazyFile } from "./lazy-file.ts";

/** A section of a kernel image; its content comes from {@link KernelImage.contentOf}. */
export type ImageSection = Omit<Section, "data">;

/**
 * An unpacked kernel image. Addresses are those the kernel was linked at, as signed 64-bit values in JS numbers: the kernel's top 2 GiB are
 * small negative numbers, per-CPU offsets small positive ones. `formatAddress` of `src/elf/bytes.ts` prints them the usual way.
 */
export class KernelImage {
  readonly unpacked: UnpackedImage;
  readonly littleEndian: boolean;
  /** `e_machine` of the ELF header. */
  readonly machine: number;
  readonly sections: readonly ImageSection[];
  /** Sections that are in memory and have content, in address order. */
  readonly loaded: readonly ImageSection[];
  /** GNU build id, lower case hexadecimal. */
  readonly buildId: string;
  #banner: KernelBanner | undefined;
  #kallsyms: Kallsyms | undefined;

  /** @throws ElfFormatError, KmendError `IMAGE_WITHOUT_BUILD_ID`. */
  constructor(unpacked: UnpackedImage) {
    this.unpacked = unpacked;
    const elf = readHeaders(unpacked.file);
    this.littleEndian = elf.littleEndian;
    this.machine = elf.header.machine;
    this.sections = elf.sections;
    this.loaded = elf.sections
      .filter(
        (section) =>
          (section.flags & SectionFlag.alloc) !== 0 && section.type !== SectionType.nobits && section.size > 0,
      )
      .sort((a, b) => a.address - b.address);
    this.buildId = this.#readBuildId();
  }

  /** Unpacks (once) and opens the image file at `path`. @throws KmendError `IMAGE_…`, `COMPRESSION_DAMAGED`. */
  static async open(path: string, cache: string, signal?: AbortSignal): Promise<KernelImage> {
    const unpacked = await unpackImage(path, cache, signal);
    try {
      return new KernelImage(unpacked);
    } catch (error) {
      if (!(error instanceof ElfFormatError)) throw error;
      throw new KmendError({
        code: "IMAGE_DAMAGED",
        message: "the kernel image is damaged or truncated",
        where: `${path}, ${error.where}`,
        why: error.message,
        hint: "fetch or install the kernel image again",
        cause: error,
      });
    }
  }

  /** A view of a section's bytes in the file. */
  contentOf(section: ImageSection): Uint8Array {
    return section.type === SectionType.nobits
      ? new Uint8Array(0)
      : this.unpacked.file.view(section.offset, section.size);
  }

  /** A view of `length` bytes at an address, or undefined when no single section with content holds them all. */
  bytesAt(address: number, length: number): Uint8Array | undefined {
    const section = this.sectionAt(address);
    if (section === undefined || address + length > section.address + section.size) return undefined;
    return this.unpacked.file.view(section.offset + (address - section.address), length);
  }

  /** The section with content that holds an address. */
  sectionAt(address: number): ImageSection | undefined {
    let low = 0;
    let high = this.loaded.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.loaded[middle] as ImageSection).address <= address) low = middle + 1;
      else high = middle;
    }
    const section = this.loaded[low - 1];
    return section !== undefined && address < section.address + section.size ? section : undefined;
  }

  /** Content of `.BTF`, or undefined when the kernel has none. */
  get btf(): Uint8Array | undefined {
    const section = this.sections.find(({ name, size }) => name === ".BTF" && size > 0);
    return section === undefined ? undefined : this.contentOf(section);
  }

  /**
   * What the kernel says about itself.
   * @throws KmendError `IMAGE_WITHOUT_BANNER`, `BANNER_UNKNOWN`, `KALLSYMS_…`.
   */
  get banner(): KernelBanner {
    this.#banner ??= parseBanner(this.#findBanner());
    return this.#banner;
  }

  /**
   * Reads the banner in the quickest way: finding it takes the symbol table, so it is remembered for an image.
   * @param cache folder of the cache.
   * @throws errors of {@link banner}.
   */
  async readBanner(cache: string): Promise<KernelBanner> {
    const text = await rememberOfFile(this.unpacked.path, cache, {
      kind: "banners",
      isValid: (known) => known.startsWith(bannerStart),
      find: () => Promise.resolve(this.#findBanner()),
    });
    this.#banner ??= parseBanner(text);
    return this.#banner;
  }

  /**
   * The kernel's symbol table, decoded on the first call and kept in the cache.
   * @throws KmendError `KALLSYMS_…`
   */
  kallsyms(): Kallsyms {
    this.#kallsyms ??= loadKallsyms(
      {
        path: this.unpacked.path,
        littleEndian: this.littleEndian,
        sections: this.loaded,
        contentOf: (section) => this.contentOf(section),
        bytesAt: (address, length) => this.bytesAt(address, length),
      },
      this.unpacked.folder,
    );
    return this.#kallsyms;
  }

  #readBuildId(): string {
    for (const section of this.sections) {
      if (section.type !== SectionType.note) continue;
      const id = findBuildId(Buffer.from(this.contentOf(section)));
      if (id !== undefined) return id;
    }
    throw new KmendError({
      code: "IMAGE_WITHOUT_BUILD_ID",
      message: "the kernel image has no build id",
      where: this.unpacked.path,
      why: "kmend knows kernels apart by their build id",
      hint: "give the vmlinux or vmlinuz that the kernel build left behind, not a copy without notes",
    });
  }

  #findBanner(): string {
    const kallsyms = this.kallsyms();
    const symbol = kallsyms.indicesOf("linux_banner")[0];
    const address = symbol === undefined ? undefined : kallsyms.addressOf(symbol);
    const section = address === undefined ? undefined : this.sectionAt(address);
    if (address !== undefined && section !== undefined) {
      const room = Math.min(longestBanner, section.address + section.size - address);
      return bannerAt(Buffer.from(this.bytesAt(address, room) as Uint8Array), 0);
    }
    // Without CONFIG_KALLSYMS_ALL the table has no data symbols.
    for (const candidate of this.loaded.filter(({ name }) => name === ".rodata")) {
      const data = Buffer.from(this.contentOf(candidate));
      for (let at = data.indexOf(bannerStart); at >= 0; at = data.indexOf(bannerStart, at + 1)) {
        const text = bannerAt(data, at);
        if (/^Linux version \d+\.\d+\S* \(/.test(text)) return text;
      }
    }
    throw new KmendError({
      code: "IMAGE_WITHOUT_BANNER",
      message: "the image holds no Linux version line",
      where: this.unpacked.path,
      hint: "check that the file is a Linux kernel",
    });
  }
}

const bannerStart = "Linux version ";
/** Bytes; real ones have about 200. */
const longestBanner = 1024;

function bannerAt(data: Buffer, at: number): string {
  const end = data.indexOf(0, at);
  return data.toString("latin1", at, end < 0 ? at + longestBanner : end).trimEnd();
}

/** Reads no more of the file than the ELF reader looks at before contents are asked for. */
function readHeaders(file: LazyFile): ElfReader {
  const bytes = new Bytes(file.frame, byteOrder(file.view(0, EHDR_SIZE)) === "little");
  const tableOffset = bytes.size(40);
  file.view(tableOffset, SHDR_SIZE);
  const header = readFileHeader(bytes);
  file.view(tableOffset, header.sectionCount * SHDR_SIZE);
  if (header.sectionCount > 0) {
    const names = tableOffset + header.sectionNamesIndex * SHDR_SIZE;
    file.view(bytes.size(names + 24), bytes.size(names + 32));
  }
  return new ElfReader(file.frame);
}

/** A note of type NT_GNU_BUILD_ID (3) with the owner "GNU": sizes of name and content, type, name, content. */
const buildIdNote = Buffer.from([3, 0, 0, 0, 0x47, 0x4e, 0x55, 0]);

function findBuildId(notes: Buffer): string | undefined {
  for (let at = notes.indexOf(buildIdNote); at >= 0; at = notes.indexOf(buildIdNote, at + 1)) {
    if (at < 8 || notes.readUInt32LE(at - 8) !== 4) continue;
    const size = notes.readUInt32LE(at - 4);
    const start = at + buildIdNote.length;
    if (size >= 8 && start + size <= notes.length) return notes.toString("hex", start, start + size);
  }
  return undefined;
}
