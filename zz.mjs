// test/tmpzz/tok.ts
import { readFileSync as readFileSync2 } from "node:fs";

// src/target/lazy-file.ts
import { openSync, readSync } from "node:fs";
import { stat } from "node:fs/promises";
var chunkSize = 1 << 18;
var LazyFile = class _LazyFile {
  size;
  #data;
  #descriptor;
  #present;
  constructor(data2, descriptor) {
    this.size = data2.length;
    this.#data = data2;
    this.#descriptor = descriptor;
    this.#present = new Uint8Array(Math.ceil(data2.length / chunkSize)).fill(descriptor === void 0 ? 1 : 0);
  }
  /** A file whose content is in memory already. */
  static of(data2) {
    return new _LazyFile(data2, void 0);
  }
  /** Opens a file that nobody changes any more; it stays open as long as the process lives. */
  static async open(path) {
    const { size } = await stat(path);
    return new _LazyFile(Buffer.allocUnsafeSlow(size), openSync(path, "r"));
  }
  /** A view of `length` bytes from `offset`, cut off at the end of the file. */
  view(offset, length) {
    const end = Math.min(offset + length, this.size);
    for (let chunk = Math.floor(offset / chunkSize); chunk * chunkSize < end; chunk++) this.#load(chunk);
    return this.#data.subarray(offset, end);
  }
  /**
   * All bytes, of which only those that {@link view} has handed out are certain to have been read: for readers that take a whole file and make
   * views of its parts.
   */
  get frame() {
    return this.#data;
  }
  #load(chunk) {
    if (this.#present[chunk] === 1 || this.#descriptor === void 0) return;
    const start = chunk * chunkSize;
    const end = Math.min(start + chunkSize, this.size);
    for (let at = start; at < end; ) {
      const read = readSync(this.#descriptor, this.#data, at, end - at, at);
      if (read === 0) throw new Error(`file became shorter while it was read: ${at} of ${this.size} bytes`);
      at += read;
    }
    this.#present[chunk] = 1;
  }
};

// src/support/errors.ts
var ExitCode = {
  done: 0,
  failure: 1,
  usage: 2,
  unchanged: 3,
  refused: 4,
  environment: 5,
  stalled: 6,
  policy: 7,
  interrupted: 130
};
var KmendError = class extends Error {
  code;
  where;
  why;
  hint;
  exitCode;
  constructor(details) {
    super(details.message, details.cause === void 0 ? void 0 : { cause: details.cause });
    this.name = "KmendError";
    this.code = details.code;
    this.where = details.where;
    this.why = details.why;
    this.hint = details.hint;
    this.exitCode = details.exitCode ?? ExitCode.failure;
  }
};
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
function systemErrorCode(error) {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : void 0;
}

// src/elf/format-error.ts
var ElfFormatError = class _ElfFormatError extends KmendError {
  /** Byte offset in the file. */
  offset;
  value;
  #problem;
  /** @param file path of the file, where it is known. */
  constructor(message, offset, value, file) {
    const shown = typeof value === "number" ? ` (value ${value})` : value === void 0 ? "" : ` (value "${value}")`;
    super({
      code: "ELF_FORMAT",
      message: `malformed ELF file: ${message}${shown}`,
      where: `${file === void 0 ? "" : `${file}: `}offset 0x${offset.toString(16)}`,
      why: "the file is damaged, truncated, or not what its name says",
      hint: "make the file again, or fetch it again"
    });
    this.name = "ElfFormatError";
    this.offset = offset;
    this.value = value;
    this.#problem = message;
  }
  /** The same error, with the path of the file. */
  in(file) {
    return new _ElfFormatError(this.#problem, this.offset, this.value, file);
  }
};

// src/elf/bytes.ts
var Bytes = class {
  data;
  littleEndian;
  #view;
  /** Offset of `data` in the file, for messages. */
  #base;
  constructor(data2, littleEndian, base = 0) {
    this.data = data2;
    this.littleEndian = littleEndian;
    this.#view = new DataView(data2.buffer, data2.byteOffset, data2.byteLength);
    this.#base = base;
  }
  get length() {
    return this.data.length;
  }
  #check(offset, size) {
    if (!(offset >= 0 && offset + size <= this.data.length)) {
      throw new ElfFormatError(`${size} bytes are needed here, beyond the end`, this.#base + offset, this.data.length);
    }
  }
  u8(offset) {
    this.#check(offset, 1);
    return this.#view.getUint8(offset);
  }
  u16(offset) {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, this.littleEndian);
  }
  u32(offset) {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, this.littleEndian);
  }
  i32(offset) {
    this.#check(offset, 4);
    return this.#view.getInt32(offset, this.littleEndian);
  }
  /** A signed 64-bit value; exact while its magnitude is at most 2^53. */
  i64(offset) {
    this.#check(offset, 8);
    const low = this.#view.getUint32(this.littleEndian ? offset : offset + 4, this.littleEndian);
    const high = this.#view.getInt32(this.littleEndian ? offset + 4 : offset, this.littleEndian);
    return high * 4294967296 + low;
  }
  /** An offset or size. @throws ElfFormatError when it is 2^53 or more, which no real file has. */
  size(offset) {
    const value = this.i64(offset);
    if (!Number.isSafeInteger(value) || value < 0)
      throw new ElfFormatError("absurd 64-bit offset or size", this.#base + offset, value);
    return value;
  }
};

// src/elf/constants.ts
var ELFCLASS64 = 2;
var ELFDATA2LSB = 1;
var ELFDATA2MSB = 2;
var SectionType = {
  null: 0,
  progbits: 1,
  symtab: 2,
  strtab: 3,
  rela: 4,
  hash: 5,
  dynamic: 6,
  note: 7,
  nobits: 8,
  rel: 9,
  dynsym: 11,
  initArray: 14,
  finiArray: 15,
  group: 17,
  symtabShndx: 18,
  llvmAddrsig: 1879002115
};
var SectionFlag = {
  write: 1,
  alloc: 2,
  execinstr: 4,
  merge: 16,
  strings: 32,
  infoLink: 64,
  linkOrder: 128,
  group: 512,
  tls: 1024,
  /** SHF_RELA_LIVEPATCH of include/uapi/linux/elf.h. */
  relaLivepatch: 1048576
};
var SpecialSection = {
  undef: 0,
  /** SHN_LIVEPATCH 0xff20 of include/uapi/linux/elf.h. */
  livepatch: 65312 - 65536,
  abs: 65521 - 65536,
  common: 65522 - 65536
};
var SHN_LORESERVE = 65280;
var SHN_XINDEX = 65535;
var SymbolType = {
  notype: 0,
  object: 1,
  func: 2,
  section: 3,
  file: 4,
  common: 5,
  tls: 6,
  gnuIfunc: 10
};
var EHDR_SIZE = 64;
var SHDR_SIZE = 64;
var SYM_SIZE = 24;
var RELA_SIZE = 24;

// src/elf/header.ts
function byteOrder(file) {
  if (file.length < EHDR_SIZE) throw new ElfFormatError("too short for an ELF header", 0, file.length);
  if (file[0] !== 127 || file[1] !== 69 || file[2] !== 76 || file[3] !== 70) {
    throw new ElfFormatError("no ELF magic at the start", 0, Buffer.from(file.subarray(0, 4)).toString("hex"));
  }
  if (file[4] !== ELFCLASS64) throw new ElfFormatError("not a 64-bit file", 4, file[4]);
  if (file[5] === ELFDATA2LSB) return "little";
  if (file[5] === ELFDATA2MSB) return "big";
  throw new ElfFormatError("unknown byte order", 5, file[5]);
}
function readFileHeader(bytes) {
  const sectionHeaderOffset = bytes.size(40);
  const entrySize = bytes.u16(58);
  let sectionCount = bytes.u16(60);
  let sectionNamesIndex = bytes.u16(62);
  if (sectionHeaderOffset !== 0) {
    if (entrySize !== SHDR_SIZE) throw new ElfFormatError("section headers of unexpected size", 58, entrySize);
    if (sectionCount === 0) sectionCount = bytes.size(sectionHeaderOffset + 32);
    if (sectionNamesIndex === 65535) sectionNamesIndex = bytes.u32(sectionHeaderOffset + 40);
    if (sectionHeaderOffset + sectionCount * SHDR_SIZE > bytes.length) {
      throw new ElfFormatError("section header table runs beyond the end", sectionHeaderOffset, sectionCount);
    }
  }
  if (sectionCount > 0 && sectionNamesIndex >= sectionCount) {
    throw new ElfFormatError("section name table out of range", 62, sectionNamesIndex);
  }
  return {
    ident: bytes.data.slice(0, 16),
    type: bytes.u16(16),
    machine: bytes.u16(18),
    version: bytes.u32(20),
    entry: bytes.i64(24),
    programHeaderOffset: bytes.size(32),
    flags: bytes.u32(48),
    programHeaderSize: bytes.u16(54),
    programHeaderCount: bytes.u16(56),
    sectionHeaderOffset,
    sectionCount: sectionHeaderOffset === 0 ? 0 : sectionCount,
    sectionNamesIndex
  };
}

// src/elf/strings.ts
var overlapLimit = 64;
var StringTable = class {
  #data;
  #base;
  #known = /* @__PURE__ */ new Map();
  #decoded = 0;
  /** @param base offset of the table in the file, for messages. */
  constructor(data2, base) {
    this.#data = Buffer.from(data2.buffer, data2.byteOffset, data2.byteLength);
    this.#base = base;
  }
  at(offset) {
    const known = this.#known.get(offset);
    if (known !== void 0) return known;
    if (offset >= this.#data.length) {
      if (offset === 0) return "";
      throw new ElfFormatError("string offset beyond its table", this.#base, offset);
    }
    const end = this.#data.indexOf(0, offset);
    if (end < 0) throw new ElfFormatError("string without an end", this.#base + offset);
    this.#decoded += end - offset;
    if (this.#decoded > overlapLimit * this.#data.length)
      throw new ElfFormatError("strings overlap without end", this.#base + offset, this.#decoded);
    const text = this.#data.toString("latin1", offset, end);
    this.#known.set(offset, text);
    return text;
  }
};

// src/elf/reader.ts
var ElfReader = class {
  file;
  bytes;
  header;
  sections;
  #symbols;
  #relocations = /* @__PURE__ */ new Map();
  #relaOf;
  #byName;
  /** @throws ElfFormatError with the offset of the first thing that is wrong. */
  constructor(file) {
    this.file = file;
    this.bytes = new Bytes(file, byteOrder(file) === "little");
    this.header = readFileHeader(this.bytes);
    this.sections = readSections(this.bytes, this.header);
  }
  get littleEndian() {
    return this.bytes.littleEndian;
  }
  /** The first section of that name. */
  section(name) {
    this.#byName ??= indexByName(this.sections);
    return this.#byName.get(name);
  }
  /** The symbols of the SHT_SYMTAB section, or of none. */
  get symbols() {
    this.#symbols ??= readSymbols(this);
    return this.#symbols;
  }
  /** SHT_RELA sections whose sh_info names `target`, in file order. Livepatch relocations make several for one target possible. */
  relocationSections(target) {
    if (this.#relaOf === void 0) {
      this.#relaOf = /* @__PURE__ */ new Map();
      for (const section2 of this.sections) {
        if (section2.type !== SectionType.rela) continue;
        const list = this.#relaOf.get(section2.info);
        if (list === void 0) this.#relaOf.set(section2.info, [section2]);
        else list.push(section2);
      }
    }
    return this.#relaOf.get(target) ?? [];
  }
  /** Entries of one SHT_RELA section. */
  relocations(rela) {
    let list = this.#relocations.get(rela.index);
    if (list === void 0) {
      list = readRelocations(this, rela);
      this.#relocations.set(rela.index, list);
    }
    return list;
  }
  /** All relocations that patch `target`, in order of their sections and entries. */
  relocationsFor(target) {
    const sections = this.relocationSections(target);
    if (sections.length === 1) return this.relocations(sections[0]);
    return sections.flatMap((section2) => this.relocations(section2));
  }
};
function indexByName(sections) {
  const map = /* @__PURE__ */ new Map();
  for (const section2 of sections) if (!map.has(section2.name)) map.set(section2.name, section2);
  return map;
}
var largestAlignment = 1 << 26;
function readSections(bytes, header) {
  const raw = [];
  for (let index = 0; index < header.sectionCount; index++) {
    const at = header.sectionHeaderOffset + index * SHDR_SIZE;
    const type = bytes.u32(at + 4);
    const offset = index === 0 ? 0 : bytes.size(at + 24);
    const size = index === 0 ? 0 : bytes.size(at + 32);
    const hasData = type !== SectionType.nobits && type !== SectionType.null;
    if (hasData && offset + size > bytes.length) {
      throw new ElfFormatError(`section ${index} runs beyond the end of the file`, at + 24, offset + size);
    }
    const alignment = bytes.size(at + 48);
    if (alignment > 1 && !Number.isInteger(Math.log2(alignment))) {
      throw new ElfFormatError(`alignment of section ${index} is no power of two`, at + 48, alignment);
    }
    if (alignment > largestAlignment)
      throw new ElfFormatError(`absurd alignment of section ${index}`, at + 48, alignment);
    raw.push({
      index,
      nameOffset: bytes.u32(at),
      type,
      flags: bytes.size(at + 8),
      address: bytes.i64(at + 16),
      offset,
      size,
      link: index === 0 ? 0 : bytes.u32(at + 40),
      info: bytes.u32(at + 44),
      alignment,
      entrySize: bytes.size(at + 56),
      data: hasData ? bytes.data.subarray(offset, offset + size) : new Uint8Array(0)
    });
  }
  const names = raw[header.sectionNamesIndex];
  const table = names === void 0 || names.type !== SectionType.strtab ? void 0 : new StringTable(names.data, names.offset);
  if (table === void 0 && raw.length > 0 && header.sectionNamesIndex !== 0) {
    throw new ElfFormatError("section name table is not a string table", 62, header.sectionNamesIndex);
  }
  return raw.map((section2) => ({ ...section2, name: table?.at(section2.nameOffset) ?? "" }));
}
function readSymbols(elf) {
  const table = elf.sections.find((section2) => section2.type === SectionType.symtab);
  if (table === void 0) return [];
  if (table.size % SYM_SIZE !== 0)
    throw new ElfFormatError("symbol table size is no multiple of its entries", table.offset, table.size);
  const strings = elf.sections[table.link];
  if (strings === void 0 || strings.type !== SectionType.strtab) {
    throw new ElfFormatError("symbol table without a string table", table.offset, table.link);
  }
  const extended = elf.sections.find(
    (section2) => section2.type === SectionType.symtabShndx && section2.link === table.index
  );
  const names = new StringTable(strings.data, strings.offset);
  const bytes = new Bytes(table.data, elf.littleEndian, table.offset);
  const indices = extended === void 0 ? void 0 : new Bytes(extended.data, elf.littleEndian, extended.offset);
  const symbols = [];
  for (let index = 0, at = 0; at < table.size; index++, at += SYM_SIZE) {
    const info = bytes.u8(at + 4);
    let section2 = bytes.u16(at + 6);
    if (section2 === SHN_XINDEX && indices !== void 0) section2 = indices.u32(index * 4);
    else if (section2 >= SHN_LORESERVE) section2 -= 65536;
    if (section2 >= elf.sections.length) {
      throw new ElfFormatError(`symbol ${index} is in a section that does not exist`, table.offset + at + 6, section2);
    }
    const type = info & 15;
    const nameOffset = bytes.u32(at);
    const own = names.at(nameOffset);
    symbols.push({
      index,
      name: type === SymbolType.section && own === "" ? elf.sections[section2]?.name ?? "" : own,
      nameOffset,
      value: bytes.i64(at + 8),
      size: bytes.i64(at + 16),
      binding: info >> 4,
      type,
      other: bytes.u8(at + 5),
      section: section2
    });
  }
  return symbols;
}
function readRelocations(elf, rela) {
  if (rela.size % RELA_SIZE !== 0)
    throw new ElfFormatError(`size of ${rela.name} is no multiple of its entries`, rela.offset, rela.size);
  const bytes = new Bytes(rela.data, elf.littleEndian, rela.offset);
  const symbolCount = elf.symbols.length;
  const list = [];
  for (let at = 0; at < rela.size; at += RELA_SIZE) {
    const symbol = bytes.u32(at + (elf.littleEndian ? 12 : 8));
    if (symbol >= symbolCount && symbol !== 0) {
      throw new ElfFormatError(
        `relocation in ${rela.name} names a symbol that does not exist`,
        rela.offset + at + 8,
        symbol
      );
    }
    list.push({
      offset: bytes.i64(at),
      type: bytes.u32(at + (elf.littleEndian ? 8 : 12)),
      symbol,
      addend: bytes.i64(at + 16)
    });
  }
  return list;
}

// src/target/banner.ts
function parseBanner(text) {
  const start = /^Linux version (\S+) \(/.exec(text);
  if (start !== null) {
    const builderEnd = closing(text, start[0].length);
    const toolsStart = text.indexOf("(", builderEnd + 1);
    const toolsEnd = toolsStart < 0 ? -1 : closing(text, toolsStart + 1);
    if (toolsEnd > 0) {
      const tools = text.slice(toolsStart + 1, toolsEnd).trim();
      const [compiler, linker] = splitTools(tools);
      return {
        text,
        release: start[1],
        builder: text.slice(start[0].length, builderEnd),
        compiler,
        linker,
        version: text.slice(toolsEnd + 1).trim()
      };
    }
  }
  throw new KmendError({
    code: "BANNER_UNKNOWN",
    message: "the kernel's version line cannot be understood",
    where: text.slice(0, 300),
    hint: "check that the image is a Linux kernel"
  });
}
function closing(text, from2) {
  let depth = 1;
  for (let index = from2; index < text.length; index++) {
    if (text[index] === "(") depth++;
    else if (text[index] === ")" && --depth === 0) return index;
  }
  return -1;
}
function splitTools(tools) {
  let depth = 0;
  for (let index = 0; index < tools.length; index++) {
    if (tools[index] === "(") depth++;
    else if (tools[index] === ")") depth--;
    else if (tools[index] === "," && depth === 0) return [tools.slice(0, index).trim(), tools.slice(index + 1).trim()];
  }
  return [tools, ""];
}

// src/target/image.ts
import { createHash as createHash2 } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile as readFile2, writeFile as writeFile2 } from "node:fs/promises";
import { join as join2 } from "node:path";

// src/support/cache.ts
import { createHash, randomBytes } from "node:crypto";
import { link, lstat, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { dirname, join } from "node:path";
function cacheRoot() {
  const own = process.env["KMEND_CACHE"];
  if (own !== void 0 && own !== "") return own;
  const xdg = process.env["XDG_CACHE_HOME"];
  return join(xdg !== void 0 && xdg !== "" ? xdg : join(homedir(), ".cache"), "kmend");
}
async function makeOnce(path, make) {
  if (await exists(path)) return path;
  await mkdir(dirname(path), { recursive: true }).catch(rethrowDiskErrors);
  const temporary = temporaryBeside(path);
  try {
    await make(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {
    });
    const code = systemErrorCode(error);
    if ((code === "ENOTEMPTY" || code === "EEXIST") && await exists(path)) return path;
    rethrowDiskErrors(error);
  }
  return path;
}
function temporaryBeside(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return join(dirname(path), `.${name}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
}
async function exists(path) {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}
function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}
function rethrowDiskErrors(error) {
  const code = systemErrorCode(error);
  const path = error instanceof Error && "path" in error ? String(error.path) : void 0;
  if (code === "ENOSPC" || code === "EDQUOT" || error instanceof Error && /No space left on device|ENOSPC/.test(`${error.message} ${error instanceof KmendError ? error.why : ""}`)) {
    throw new KmendError({
      code: "NO_SPACE",
      message: "no space left on the disk",
      where: path,
      hint: `free some space, or choose another cache folder with KMEND_CACHE=DIR (now ${cacheRoot()})`,
      cause: error
    });
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR" || code === "EEXIST") {
    throw new KmendError({
      code: "NOT_WRITABLE",
      message: `cannot write: ${messageOf(error)}`,
      where: path,
      hint: "choose a folder that you may write to (-o DIR for the output, KMEND_CACHE=DIR for the cache)",
      cause: error
    });
  }
  throw error;
}

// src/target/decompress.ts
import { gunzipSync } from "node:zlib";
import { execa } from "execa";
var formats = [
  { name: "gzip", magic: [31, 139] },
  { name: "bzip2", magic: [66, 90, 104], program: ["bzip2", "-dc"], package: "bzip2" },
  { name: "lzma", magic: [93, 0, 0], program: ["xz", "--format=lzma", "-dc"], package: "xz-utils" },
  { name: "xz", magic: [253, 55, 122, 88, 90, 0], program: ["xz", "-dc"], package: "xz-utils" },
  { name: "lzo", magic: [137, 76, 90, 79], program: ["lzop", "-dc"], package: "lzop" },
  { name: "lz4", magic: [2, 33, 76, 24], program: ["lz4", "-dc"], package: "lz4" },
  { name: "lz4", magic: [4, 34, 77, 24], program: ["lz4", "-dc"], package: "lz4" },
  { name: "zstd", magic: [40, 181, 47, 253], program: ["zstd", "-dc", "--long=31"], package: "zstd" }
];
function compressionOf(data2) {
  return formatOf(data2)?.name;
}
async function decompress(data2, what, signal) {
  const format = formatOf(data2);
  if (format === void 0) throw new Error(`${what} is not compressed in a known format`);
  if (format.program === void 0) {
    try {
      return gunzipSync(data2);
    } catch (error) {
      throw damaged(what, format.name, messageOf(error), error);
    }
  }
  const [program, ...args] = format.program;
  const result = await execa(program, args, {
    input: data2,
    encoding: "buffer",
    reject: false,
    maxBuffer: 2 ** 31 - 1,
    env: { LC_ALL: "C" },
    ...signal === void 0 ? {} : { cancelSignal: signal }
  });
  signal?.throwIfAborted();
  if (result.code === "ENOENT") {
    throw new KmendError({
      code: "PROGRAM_MISSING",
      message: `${program} is not installed, and ${what} is compressed with ${format.name}`,
      hint: `install it: sudo apt-get install ${format.package}`,
      exitCode: ExitCode.environment
    });
  }
  if (result.failed) {
    throw damaged(what, format.name, Buffer.from(result.stderr).toString("utf8").trim(), result);
  }
  return Buffer.from(result.stdout.buffer, result.stdout.byteOffset, result.stdout.byteLength);
}
function formatOf(data2) {
  return formats.find(({ magic: magic2 }) => magic2.every((byte, index) => data2[index] === byte));
}
function damaged(what, format, why, cause) {
  return new KmendError({
    code: "COMPRESSION_DAMAGED",
    message: `the ${format} data of ${what} is damaged or truncated`,
    where: what,
    why,
    hint: "fetch or build the file again",
    cause
  });
}

// src/target/image.ts
var elfMagic = Buffer.from([127, 69, 76, 70]);
async function unpackImage(path, cache, signal) {
  if (await isElf(path)) {
    const digest2 = await sha256OfFile(path);
    return { path, file: await LazyFile.open(path), sha256: digest2, folder: join2(cache, "images", digest2) };
  }
  const image2 = await readImage(path);
  const digest = sha256(image2);
  const folder = join2(cache, "images", digest);
  const unpacked = join2(folder, "vmlinux");
  if (await exists(unpacked)) {
    return { path: unpacked, file: await LazyFile.open(unpacked), sha256: digest, folder };
  }
  const data2 = await unpackImageBytes(image2, path, signal);
  await makeOnce(unpacked, (temporary) => writeFile2(temporary, data2));
  return { path: unpacked, file: LazyFile.of(data2), sha256: digest, folder };
}
async function unpackImageBytes(image2, path, signal) {
  if (startsWith(image2, elfMagic)) return image2;
  const payload = findPayload(image2, path);
  if (payload.offset + payload.length > image2.length) {
    throw new KmendError({
      code: "IMAGE_TRUNCATED",
      message: `the kernel image is truncated: its ${payload.container} header names ${payload.offset + payload.length} bytes, the file has ${image2.length}`,
      where: `${path}, offset 0x${image2.length.toString(16)}`,
      hint: "fetch or install the kernel image again"
    });
  }
  const data2 = await unpackPayload(image2, payload, path, signal);
  if (!startsWith(data2, elfMagic)) {
    throw new KmendError({
      code: "IMAGE_NOT_ELF",
      message: `the ${payload.container} image does not hold an ELF kernel`,
      where: `${path}, offset 0x${payload.offset.toString(16)}`,
      why: `unpacked, it begins with ${hex(data2.subarray(0, 8))}; flat images carry no section addresses`,
      hint: "give the vmlinux ELF file of this kernel with --image"
    });
  }
  if (payload.unpackedSize !== void 0 && data2.length !== payload.unpackedSize) {
    throw new KmendError({
      code: "IMAGE_DAMAGED",
      message: `the unpacked kernel has ${data2.length} bytes where the image says ${payload.unpackedSize}`,
      where: `${path}, offset 0x${(payload.offset + payload.length - 4).toString(16)}`,
      hint: "fetch or install the kernel image again"
    });
  }
  return data2;
}
async function unpackPayload(image2, payload, path, signal) {
  const data2 = image2.subarray(payload.offset, payload.offset + payload.length);
  const compression = compressionOf(data2);
  if (compression === void 0) {
    throw new KmendError({
      code: "IMAGE_COMPRESSION_UNKNOWN",
      message: `the kernel in the ${payload.container} image is compressed in an unknown way`,
      where: `${path}, offset 0x${payload.offset.toString(16)}`,
      why: `its first bytes are ${hex(data2.subarray(0, 8))}; known are gzip, bzip2, lzma, xz, lzo, lz4 and zstd`,
      hint: "give the unpacked vmlinux of this kernel with --image"
    });
  }
  const appended = payload.container === "bzImage" && compression !== "gzip" ? 4 : 0;
  return decompress(data2.subarray(0, data2.length - appended), path, signal);
}
function findPayload(image2, path) {
  const payload = bzImagePayload(image2, path) ?? zbootPayload(image2);
  if (payload !== void 0) return payload;
  if (compressionOf(image2) !== void 0) {
    return { offset: 0, length: image2.length, unpackedSize: void 0, container: "compressed" };
  }
  throw new KmendError({
    code: "IMAGE_FOREIGN",
    message: "this file is not a kernel image",
    where: `${path}, offset 0x0`,
    why: image2.length === 0 ? "it is empty" : `it begins with ${hex(image2.subarray(0, 8))}: neither an ELF file nor an x86 boot image (HdrS at 0x202) nor EFI zboot (zimg at 0x4)`,
    hint: "give the vmlinuz or vmlinux file of the kernel, for example /boot/vmlinuz-RELEASE"
  });
}
function bzImagePayload(image2, path) {
  if (image2.length < 592) return void 0;
  if (image2.toString("latin1", 514, 518) !== "HdrS" || image2.readUInt16LE(510) !== 43605) return void 0;
  const protocol = image2.readUInt16LE(518);
  if (protocol < 520) {
    throw new KmendError({
      code: "IMAGE_TOO_OLD",
      message: `the boot image follows protocol ${protocol >> 8}.${protocol & 255}, which does not say where the kernel begins`,
      where: `${path}, offset 0x206`,
      hint: "give the vmlinux of this kernel with --image"
    });
  }
  const setupSectors = image2.readUInt8(497) || 4;
  const offset = (setupSectors + 1) * 512 + image2.readUInt32LE(584);
  const length = image2.readUInt32LE(588);
  const end = offset + length;
  const unpackedSize = end <= image2.length && length >= 4 ? image2.readUInt32LE(end - 4) : void 0;
  return { offset, length, unpackedSize, container: "bzImage" };
}
function zbootPayload(image2) {
  if (image2.length < 64) return void 0;
  if (image2.toString("latin1", 0, 2) !== "MZ" || image2.toString("latin1", 4, 8) !== "zimg") return void 0;
  return {
    offset: image2.readUInt32LE(8),
    length: image2.readUInt32LE(12),
    unpackedSize: void 0,
    container: "EFI zboot"
  };
}
async function isElf(path) {
  const start = createReadStream(path, { end: elfMagic.length - 1 });
  try {
    for await (const bytes of start) return startsWith(bytes, elfMagic);
  } catch (error) {
    throw unreadable(path, error);
  }
  return false;
}
async function sha256OfFile(path) {
  const hash = createHash2("sha256");
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes);
  return hash.digest("hex");
}
function readImage(path) {
  return readFile2(path).catch((error) => {
    throw unreadable(path, error);
  });
}
function unreadable(path, cause) {
  const missing = systemErrorCode(cause) === "ENOENT";
  return new KmendError({
    code: "IMAGE_UNREADABLE",
    message: missing ? "the kernel image does not exist" : "the kernel image cannot be read",
    where: path,
    hint: missing ? "give an existing file with --image" : "give a readable copy with --image",
    cause
  });
}
function startsWith(data2, magic2) {
  return data2.subarray(0, magic2.length).equals(magic2);
}
function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

// src/target/kallsyms-cache.ts
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join as join3 } from "node:path";
import { crc32 } from "node:zlib";

// src/target/kallsyms.ts
var Kallsyms = class {
  data;
  #text;
  constructor(data2) {
    this.data = data2;
    this.#text = Buffer.from(data2.text.buffer, data2.text.byteOffset, data2.text.byteLength);
  }
  /** Number of symbols. */
  get count() {
    return this.data.addresses.length;
  }
  addressOf(index) {
    return this.data.addresses[this.#check(index)];
  }
  nameOf(index) {
    const { offsets } = this.data;
    return this.#text.toString("latin1", offsets[this.#check(index)] + 1, offsets[index + 1]);
  }
  /** A view of {@link nameOf}, for comparing many. */
  nameBytes(index) {
    const { offsets } = this.data;
    return this.#text.subarray(offsets[this.#check(index)] + 1, offsets[index + 1]);
  }
  /** Letter as in nm(1): upper case for global symbols. */
  typeOf(index) {
    return String.fromCharCode(this.#text[this.data.offsets[this.#check(index)]]);
  }
  /** All symbols of that name, in ascending order: the position in this list plus one is the kernel's `sympos` for vmlinux. */
  indicesOf(name) {
    const { heads, next, offsets } = this.data;
    const wanted = Buffer.from(name, "latin1");
    const found = [];
    let link2 = heads[hashName(wanted, 0, wanted.length) & heads.length - 1];
    for (; link2 !== 0; link2 = next[link2 - 1]) {
      const start = offsets[link2 - 1] + 1;
      const end = offsets[link2];
      if (end - start === wanted.length && this.#text.compare(wanted, 0, wanted.length, start, end) === 0) {
        found.push(link2 - 1);
      }
    }
    return found;
  }
  /** All symbols with exactly that address, in ascending order. */
  symbolsAt(address) {
    const found = [];
    for (let index = this.#firstNotBelow(address); this.data.addresses[index] === address; index++) found.push(index);
    return found;
  }
  /** The first of the symbols with the greatest address not above `address`; undefined below the first and above the last symbol. */
  containing(address) {
    const { addresses } = this.data;
    const index = this.#firstNotBelow(address);
    if (index === addresses.length) return void 0;
    if (addresses[index] === address) return index;
    return index === 0 ? void 0 : this.#firstNotBelow(addresses[index - 1]);
  }
  /** Bytes up to the next symbol with another address, as the kernel computes sizes; 0 for the last ones. */
  sizeOf(index) {
    const { addresses } = this.data;
    const address = addresses[this.#check(index)];
    for (let later = index + 1; later < addresses.length; later++) {
      const other = addresses[later];
      if (other !== address) return other - address;
    }
    return 0;
  }
  #firstNotBelow(address) {
    const { addresses } = this.data;
    let low = 0;
    let high = addresses.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (compareAddresses(addresses[middle], address) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  #check(index) {
    if (!(index >= 0 && index < this.count)) throw new RangeError(`no symbol ${index} of ${this.count}`);
    return index;
  }
};
function compareAddresses(a, b) {
  return a < 0 === b < 0 ? a - b : b - a;
}
function hashName(bytes, start, end) {
  let hash = 2166136261;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at], 16777619);
  return (hash ^ hash >>> 15) >>> 0;
}

// src/target/kallsyms-check.ts
function findContradiction(kallsyms, sequences, image2) {
  return landmarkProblem(kallsyms, image2) ?? (sequences === void 0 ? void 0 : orderProblem(kallsyms, sequences)) ?? exportProblem(kallsyms, image2);
}
function landmarkProblem(kallsyms, image2) {
  const text = kallsyms.indicesOf("_text")[0] ?? kallsyms.indicesOf("_stext")[0];
  if (text === void 0) return "neither _text nor _stext is there";
  const start = kallsyms.addressOf(text);
  if (image2.bytesAt(start, 1) === void 0) return "_text is outside the image";
  const banner = kallsyms.indicesOf("linux_banner")[0];
  if (banner === void 0) return void 0;
  const bytes = image2.bytesAt(kallsyms.addressOf(banner), 14);
  if (bytes === void 0 || Buffer.from(bytes).toString("latin1") !== "Linux version ") {
    return "there is no version text at linux_banner";
  }
  return void 0;
}
var comparedParts = [
  (name) => name,
  (name) => before(name, name.indexOf(".")),
  (name) => before(name, name.indexOf(".llvm."))
];
function before(name, end) {
  return end < 0 ? name : name.subarray(0, end);
}
function orderProblem(kallsyms, sequences) {
  const { count } = kallsyms;
  const order = new Uint32Array(count);
  const seen = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    const index = sequences[3 * at] << 16 | sequences[3 * at + 1] << 8 | sequences[3 * at + 2];
    if (index >= count || seen[index] === 1) return `the list of names has no symbol ${index}, or has it twice`;
    seen[index] = 1;
    order[at] = index;
  }
  let problem;
  for (const part of comparedParts) {
    const place = firstOutOfOrder(kallsyms, order, part);
    if (place === void 0) return void 0;
    problem ??= `${kallsyms.nameOf(order[place])} stands behind ${kallsyms.nameOf(order[place - 1])} in the list of names`;
  }
  return problem;
}
function firstOutOfOrder(kallsyms, order, part) {
  let previous = part(kallsyms.nameBytes(order[0]));
  for (let at = 1; at < order.length; at++) {
    const name = part(kallsyms.nameBytes(order[at]));
    const difference = previous.compare(name);
    if (difference > 0 || difference === 0 && order[at - 1] > order[at]) return at;
    previous = name;
  }
  return void 0;
}
function exportProblem(kallsyms, image2) {
  const strings = image2.sections.find(({ name }) => name === "__ksymtab_strings");
  if (strings === void 0) return void 0;
  const names = Buffer.from(image2.contentOf(strings));
  const listsData = kallsyms.indicesOf("linux_banner").length > 0;
  for (const section2 of image2.sections.filter(({ name }) => name === "__ksymtab" || name === "__ksymtab_gpl")) {
    const bytes = new Bytes(image2.contentOf(section2), image2.littleEndian);
    for (const { name, address } of readExports(bytes, section2.address, names, strings.address) ?? []) {
      const known = kallsyms.indicesOf(name);
      if (known.length === 0 ? listsData : !known.some((index) => kallsyms.addressOf(index) === address))
        return `the exported ${name} is ${known.length === 0 ? "missing" : "at another address"}`;
    }
  }
  return void 0;
}
var exportForms = [
  { size: 12, width: 4 },
  { size: 8, width: 4 },
  { size: 24, width: 8 },
  { size: 16, width: 8 }
];
function readExports(bytes, address, names, namesAddress) {
  for (const { size, width } of exportForms) {
    if (bytes.length % size !== 0) continue;
    const pointer = (at) => width === 8 ? bytes.i64(at) : address + at + bytes.i32(at);
    const found = [];
    for (let at = 0; at < bytes.length; at += size) {
      const start = pointer(at + width) - namesAddress;
      if (start < 0 || start >= names.length || start > 0 && names[start - 1] !== 0) break;
      const end = names.indexOf(0, start);
      if (end <= start) break;
      found.push({ name: names.toString("latin1", start, end), address: pointer(at) });
    }
    if (found.length === bytes.length / size) return found;
  }
  return void 0;
}

// src/target/kallsyms-tables.ts
var tokenCount = 256;
var tokenIndexSize = 2 * tokenCount;
var tableAlignments = [8, 4];
var markerInterval = 256;
var maxCount = 1 << 23;
var longestToken = 512;
function align(offset, alignment) {
  return Math.ceil(offset / alignment) * alignment;
}
function findNameTables(section2, littleEndian) {
  const bytes = new Bytes(section2, littleEndian);
  const view = new DataView(section2.buffer, section2.byteOffset, section2.byteLength);
  let damaged3 = false;
  for (let at = 0; at + tokenIndexSize <= section2.length; at += 4) {
    if (view.getUint16(at, littleEndian) !== 0 || view.getUint16(at + 2, littleEndian) === 0) continue;
    const tokenTable = tokenTableBefore(section2, view, at, littleEndian);
    if (tokenTable === void 0) continue;
    const found = findNames(bytes, view, tokenTable);
    if (found !== void 0) return { bytes, ...found, tokenTable, tokenIndex: at };
    damaged3 = true;
  }
  return damaged3 ? "damaged" : void 0;
}
function tokenTableBefore(section2, view, at, littleEndian) {
  const index = new Uint16Array(tokenCount);
  for (let token = 1; token < tokenCount; token++) {
    const offset = view.getUint16(at + 2 * token, littleEndian);
    const previous = index[token - 1];
    if (offset <= previous || offset > previous + longestToken) return void 0;
    index[token] = offset;
  }
  const last = index[tokenCount - 1];
  for (let length = 0; length < longestToken; length++) {
    for (let padding = 0; padding < 8; padding++) {
      const start = at - padding - 1 - length - last;
      if (start >= 0 && start % 4 === 0 && tokensFit(section2, start, index, at - padding)) return start;
    }
  }
  return void 0;
}
function tokensFit(section2, start, index, end) {
  let expected = 0;
  for (let token = 0; token < tokenCount; token++) {
    if (index[token] !== expected) return false;
    let at = start + expected;
    while (at < end && section2[at] !== 0) at++;
    if (at >= end) return false;
    expected = at + 1 - start;
  }
  return start + expected === end;
}
function findNames(bytes, view, tokenTable) {
  const { littleEndian } = bytes;
  for (let at = tokenTable - 8; at >= 0; at -= 4) {
    const count = view.getUint32(at, littleEndian);
    if (count <= markerInterval || count > maxCount || at + 2 * count > tokenTable) continue;
    const markers = Math.ceil(count / markerInterval);
    for (const alignment of tableAlignments) {
      const names = align(at + 4, alignment);
      const sequences = tokenTable - align(3 * count, alignment);
      for (const markersEnd of [tokenTable, sequences]) {
        for (const size of [4, 8]) {
          const start = markersEnd - align(markers * size, alignment);
          if (start <= names || !looksLikeMarkers(view, start, size, littleEndian)) continue;
          if (!namesFit(bytes, names, count, { start, size, alignment })) continue;
          return { count, countOffset: at, names, sequences: markersEnd === sequences ? sequences : void 0 };
        }
      }
    }
  }
  return void 0;
}
function looksLikeMarkers(view, start, size, littleEndian) {
  const second = view.getUint32(start + size, littleEndian);
  return view.getUint32(start, littleEndian) === 0 && second >= 2 * markerInterval && second <= 600 * markerInterval;
}
function namesFit(bytes, names, count, { start, size, alignment }) {
  const { data: data2 } = bytes;
  let at = names;
  for (let index = 0; index < count; index++) {
    if (index % markerInterval === 0) {
      const marker = start + index / markerInterval * size;
      if ((size === 4 ? bytes.u32(marker) : bytes.i64(marker)) !== at - names) return false;
    }
    const length = nameLength(data2, at);
    if (length === 0) return false;
    at += length + (length > 127 ? 2 : 1);
    if (at > start) return false;
  }
  return align(at, alignment) === start && data2.subarray(at, start).every((byte) => byte === 0);
}
function nameLength(data2, at) {
  const first = data2[at];
  return first < 128 ? first : first & 127 | data2[at + 1] << 7;
}
function readTokens(tables) {
  const { data: data2 } = tables.bytes;
  return Array.from({ length: tokenCount }, (_, token) => {
    const start = tables.tokenTable + tables.bytes.u16(tables.tokenIndex + 2 * token);
    return data2.subarray(start, data2.indexOf(0, start));
  });
}
function impossibleToken(tokens) {
  const texts = tokens.map((token) => Buffer.from(token).toString("latin1"));
  const known = new Set(texts);
  return texts.find((text) => {
    if (text.length < 2) return false;
    for (let end = 1; end < text.length; end++) {
      if (known.has(text.slice(0, end)) && known.has(text.slice(end))) return false;
    }
    return true;
  });
}
function addressTables(tables) {
  const { count, bytes } = tables;
  const before2 = Math.floor(tables.countOffset / 8) * 8;
  const after = align(tables.tokenIndex + tokenIndexSize, 8);
  const offsets = align(4 * count, 8);
  const candidates = [
    { place: "after the names", encoding: "from a base", start: after, base: after + offsets },
    { place: "before the names", encoding: "from a base", start: before2 - 8 - offsets, base: before2 - 8 },
    { place: "before the names", encoding: "absolute", start: before2 - 8 * count, base: 0 },
    { place: "after the names", encoding: "absolute", start: after, base: 0 },
    // Came together with the alignment of 4.
    { place: "after the names", encoding: "from their place", start: tables.tokenIndex + tokenIndexSize, base: 0 }
  ];
  return candidates.map((candidate) => ({ ...candidate, end: endOf(candidate, count) })).filter(({ start, end }) => start >= 0 && end <= bytes.length);
}
function endOf({ start, encoding, base }, count) {
  return encoding === "from a base" ? base + 8 : start + count * (encoding === "absolute" ? 8 : 4);
}
function sequencesOf(tables, { place, end }) {
  const start = place === "after the names" ? end : tables.sequences;
  return start === void 0 ? void 0 : tables.bytes.data.subarray(start, start + 3 * tables.count);
}

// src/target/kallsyms-decode.ts
function decodeKallsyms(source) {
  const { tables, address: sectionAddress } = locate(source);
  const names = expandNames(tables, source.path);
  const problems = [];
  for (const candidate of addressTables(tables)) {
    const addresses = readAddresses(tables, candidate, sectionAddress);
    const layout = `${candidate.encoding} ${candidate.place}`;
    if (addresses === void 0) {
      problems.push(`${layout}: not in ascending order`);
      continue;
    }
    const kallsyms = new Kallsyms({ addresses, ...names, ...hashNames(names.text, names.offsets) });
    const problem = findContradiction(kallsyms, sequencesOf(tables, candidate), source);
    if (problem === void 0) return kallsyms;
    problems.push(`${layout}: ${problem}`);
  }
  throw damaged2(source.path, `none of the known layouts fits the addresses (${problems.join("; ")})`);
}
function locate(source) {
  const sections = [...source.sections].sort((a, b) => Number(b.name === ".rodata") - Number(a.name === ".rodata"));
  let sawTokens = false;
  for (const section2 of sections) {
    const found = findNameTables(source.contentOf(section2), source.littleEndian);
    if (found === "damaged") sawTokens = true;
    else if (found !== void 0) return { tables: found, address: section2.address };
  }
  if (sawTokens) throw damaged2(source.path, "the names in front of the token table do not fit their markers");
  throw new KmendError({
    code: "KALLSYMS_MISSING",
    message: "the kernel image holds no symbol table",
    where: source.path,
    why: "no kallsyms token table was found; live patching needs CONFIG_KALLSYMS, so this cannot be a kernel that can be patched",
    hint: "check that the image belongs to the kernel, and is not damaged"
  });
}
function expandNames(tables, path) {
  const tokens = readTokens(tables);
  const impossible = impossibleToken(tokens);
  if (impossible !== void 0)
    throw damaged2(path, `the token ${JSON.stringify(impossible)} is not made of two others`);
  const { data: data2 } = tables.bytes;
  const offsets = new Uint32Array(tables.count + 1);
  let text = Buffer.allocUnsafe(tables.count * 32);
  let used = 0;
  let at = tables.names;
  for (let index = 0; index < tables.count; index++) {
    const length = nameLength(data2, at);
    at += length > 127 ? 2 : 1;
    offsets[index] = used;
    for (const end = at + length; at < end; at++) {
      const token = tokens[data2[at]];
      if (used + token.length > text.length) text = Buffer.concat([text], text.length * 2);
      for (let byte = 0; byte < token.length; byte++) text[used++] = token[byte];
    }
    const type = text[offsets[index]];
    if (used - offsets[index] < 2 || !isTypeLetter(type)) {
      throw damaged2(path, `symbol ${index} has no type letter and name`);
    }
  }
  offsets[tables.count] = used;
  return { text: new Uint8Array(text.subarray(0, used)), offsets };
}
function isTypeLetter(code) {
  return code >= 65 && code <= 90 || code >= 97 && code <= 122 || code === 63;
}
function readAddresses(tables, table, sectionAddress) {
  const { bytes, count } = tables;
  const { start } = table;
  const offset = (index) => bytes.i32(start + 4 * index);
  if (table.encoding === "absolute") return ascending(count, (index) => bytes.i64(start + 8 * index));
  if (table.encoding === "from their place") {
    return ascending(count, (index) => sectionAddress + start + 4 * index + offset(index));
  }
  const base = bytes.i64(table.base);
  return ascending(count, (index) => base + (offset(index) >>> 0)) ?? ascending(count, (index) => offset(index) >= 0 ? offset(index) : base - 1 - offset(index));
}
function ascending(count, read) {
  const addresses = new Float64Array(count);
  for (let index = 0; index < count; index++) {
    const address = read(index);
    if (index > 0 && compareAddresses(addresses[index - 1], address) > 0) return void 0;
    addresses[index] = address;
  }
  return addresses;
}
function hashNames(text, offsets) {
  const count = offsets.length - 1;
  const heads = new Uint32Array(2 ** Math.ceil(Math.log2(count + 1)));
  const next = new Uint32Array(count);
  for (let index = count - 1; index >= 0; index--) {
    const bucket = hashName(text, offsets[index] + 1, offsets[index + 1]) & heads.length - 1;
    next[index] = heads[bucket];
    heads[bucket] = index + 1;
  }
  return { heads, next };
}
function damaged2(path, why) {
  return new KmendError({
    code: "KALLSYMS_DAMAGED",
    message: "the kernel image's symbol table is damaged",
    where: path,
    why,
    hint: "fetch or install the kernel image again; an intact image with this message has a layout that kmend does not know yet"
  });
}

// src/target/kallsyms-cache.ts
var magic = "kmendks2";
var headerSize = 32;
function loadKallsyms(image2) {
  const { folder, path } = image2.unpacked;
  const file = join3(folder, "kallsyms.bin");
  const known = readCached(file);
  if (known !== void 0) return known;
  const kallsyms = decodeKallsyms({
    path,
    littleEndian: image2.littleEndian,
    sections: image2.loaded,
    contentOf: (section2) => image2.contentOf(section2),
    bytesAt: (address, length) => image2.bytesAt(address, length)
  });
  writeCached(file, folder, kallsyms.data);
  return kallsyms;
}
function encode(data2) {
  const parts = [data2.addresses, data2.offsets, data2.next, data2.heads, data2.text];
  const content = Buffer.concat(parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)));
  const header = new Uint8Array(headerSize);
  header.set(Buffer.from(magic, "latin1"));
  const numbers = [data2.addresses.length, data2.text.length, data2.heads.length, crc32(content)];
  new Uint32Array(header.buffer, 8, numbers.length).set(numbers);
  return Buffer.concat([header, content]);
}
function decode(file) {
  if (file.length < headerSize || file.toString("latin1", 0, 8) !== magic) return void 0;
  const aligned = file.byteOffset % 8 === 0 ? file : Buffer.from(new Uint8Array(file).buffer);
  const { buffer, byteOffset } = aligned;
  const [count, textLength, buckets, sum] = new Uint32Array(buffer, byteOffset + 8, 4);
  let at = headerSize;
  const take = (bytes) => {
    const start = byteOffset + at;
    at += bytes;
    return start;
  };
  if (headerSize + 8 * count + 4 * (count + 1 + count + buckets) + textLength !== file.length) return void 0;
  if (crc32(file.subarray(headerSize)) !== sum) return void 0;
  return new Kallsyms({
    addresses: new Float64Array(buffer, take(8 * count), count),
    offsets: new Uint32Array(buffer, take(4 * (count + 1)), count + 1),
    next: new Uint32Array(buffer, take(4 * count), count),
    heads: new Uint32Array(buffer, take(4 * buckets), buckets),
    text: new Uint8Array(buffer, take(textLength), textLength)
  });
}
function readCached(file) {
  try {
    return decode(readFileSync(file));
  } catch {
    return void 0;
  }
}
function writeCached(file, folder, data2) {
  const temporary = temporaryBeside(file);
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(temporary, encode(data2));
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    rethrowDiskErrors(error);
  }
}

// src/target/kernel-image.ts
var KernelImage = class _KernelImage {
  unpacked;
  littleEndian;
  sections;
  /** Sections that are in memory and have content, in address order. */
  loaded;
  /** GNU build id, lower case hexadecimal. */
  buildId;
  #banner;
  #kallsyms;
  /** @throws ElfFormatError, KmendError `IMAGE_WITHOUT_BUILD_ID`. */
  constructor(unpacked) {
    this.unpacked = unpacked;
    const elf = readHeaders(unpacked.file);
    this.littleEndian = elf.littleEndian;
    this.sections = elf.sections;
    this.loaded = elf.sections.filter(
      (section2) => (section2.flags & SectionFlag.alloc) !== 0 && section2.type !== SectionType.nobits && section2.size > 0
    ).sort((a, b) => a.address - b.address);
    this.buildId = this.#readBuildId();
  }
  /** Unpacks (once) and opens the image file at `path`. @throws KmendError `IMAGE_…`, `COMPRESSION_DAMAGED`. */
  static async open(path, cache, signal) {
    const unpacked = await unpackImage(path, cache, signal);
    try {
      return new _KernelImage(unpacked);
    } catch (error) {
      if (!(error instanceof ElfFormatError)) throw error;
      throw new KmendError({
        code: "IMAGE_DAMAGED",
        message: "the kernel image is damaged or truncated",
        where: `${path}, ${error.where}`,
        why: error.message,
        hint: "fetch or install the kernel image again",
        cause: error
      });
    }
  }
  /** A view of a section's bytes in the file. */
  contentOf(section2) {
    return section2.type === SectionType.nobits ? new Uint8Array(0) : this.unpacked.file.view(section2.offset, section2.size);
  }
  /** A view of `length` bytes at an address, or undefined when no single section with content holds them all. */
  bytesAt(address, length) {
    const section2 = this.sectionAt(address);
    if (section2 === void 0 || address + length > section2.address + section2.size) return void 0;
    return this.unpacked.file.view(section2.offset + (address - section2.address), length);
  }
  /** The section with content that holds an address. */
  sectionAt(address) {
    let low = 0;
    let high = this.loaded.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (this.loaded[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    const section2 = this.loaded[low - 1];
    return section2 !== void 0 && address < section2.address + section2.size ? section2 : void 0;
  }
  /** Content of `.BTF`, or undefined when the kernel has none. */
  get btf() {
    const section2 = this.sections.find(({ name, size }) => name === ".BTF" && size > 0);
    return section2 === void 0 ? void 0 : this.contentOf(section2);
  }
  /**
   * What the kernel says about itself.
   * @throws KmendError `IMAGE_WITHOUT_BANNER`, `BANNER_UNKNOWN`, `KALLSYMS_…`.
   */
  get banner() {
    this.#banner ??= parseBanner(this.#findBanner());
    return this.#banner;
  }
  /**
   * The kernel's symbol table, decoded on the first call and kept in the cache.
   * @throws KmendError `KALLSYMS_…`
   */
  get kallsyms() {
    this.#kallsyms ??= loadKallsyms(this);
    return this.#kallsyms;
  }
  #readBuildId() {
    for (const section2 of this.sections) {
      if (section2.type !== SectionType.note) continue;
      const id = findBuildId(Buffer.from(this.contentOf(section2)));
      if (id !== void 0) return id;
    }
    throw new KmendError({
      code: "IMAGE_WITHOUT_BUILD_ID",
      message: "the kernel image has no build id",
      where: this.unpacked.path,
      why: "kmend knows kernels apart by their build id",
      hint: "give the vmlinux or vmlinuz that the kernel build left behind, not a copy without notes"
    });
  }
  #findBanner() {
    const { kallsyms } = this;
    const symbol = kallsyms.indicesOf("linux_banner")[0];
    const address = symbol === void 0 ? void 0 : kallsyms.addressOf(symbol);
    const section2 = address === void 0 ? void 0 : this.sectionAt(address);
    if (address !== void 0 && section2 !== void 0) {
      const room = Math.min(longestBanner, section2.address + section2.size - address);
      return bannerAt(Buffer.from(this.bytesAt(address, room)), 0);
    }
    for (const candidate of this.loaded.filter(({ name }) => name === ".rodata")) {
      const data2 = Buffer.from(this.contentOf(candidate));
      for (let at = data2.indexOf(bannerStart); at >= 0; at = data2.indexOf(bannerStart, at + 1)) {
        const text = bannerAt(data2, at);
        if (/^Linux version \d+\.\d+\S* \(/.test(text)) return text;
      }
    }
    throw new KmendError({
      code: "IMAGE_WITHOUT_BANNER",
      message: "the image holds no Linux version line",
      where: this.unpacked.path,
      hint: "check that the file is a Linux kernel"
    });
  }
};
var bannerStart = "Linux version ";
var longestBanner = 1024;
function bannerAt(data2, at) {
  const end = data2.indexOf(0, at);
  return data2.toString("latin1", at, end < 0 ? at + longestBanner : end).trimEnd();
}
function readHeaders(file) {
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
var buildIdNote = Buffer.from([3, 0, 0, 0, 71, 78, 85, 0]);
function findBuildId(notes) {
  for (let at = notes.indexOf(buildIdNote); at >= 0; at = notes.indexOf(buildIdNote, at + 1)) {
    if (at < 8 || notes.readUInt32LE(at - 8) !== 4) continue;
    const size = notes.readUInt32LE(at - 4);
    const start = at + buildIdNote.length;
    if (size >= 8 && start + size <= notes.length) return notes.toString("hex", start, start + size);
  }
  return void 0;
}

// test/tmpzz/tok.ts
var which = process.argv[2];
var step = Number(process.argv[3]);
var data = readFileSync2(`/tmp/k/cache/images/${which}/vmlinux`);
var image = new KernelImage({ path: which, file: LazyFile.of(data), sha256: "", folder: "/tmp/w/h4c-scratch/x/" + process.argv[2] + "" });
var section = image.sections.find((s) => s.name === ".rodata");
var t = findNameTables(data.subarray(section.offset, section.offset + section.size), true);
image.kallsyms.count; console.log("intact token:", impossibleToken(readTokens(t)), "count", t.count);
var from = section.offset + t.tokenTable;
var to = section.offset + t.tokenIndex + 512;
var detected = 0;
var n = 0;
for (let at = from; at < to; at += step) {
  const byte = data[at];
  data[at] = byte ^ 1 << at * 7 % 5;
  n++;
  const s = data.subarray(section.offset, section.offset + section.size);
  const toks = readTokens({ ...t, bytes: t.bytes });
  let how = "";
  if (impossibleToken(toks) !== void 0) {
    detected++;
    data[at] = byte;
    continue;
  }
  try {
    const k = decodeKallsyms({ path: "x", littleEndian: true, sections: image.loaded, contentOf: (x) => image.contentOf(x), bytesAt: (a, l) => image.bytesAt(a, l) });
    const original = image.kallsyms;
    let wrong = 0;
    let ex = "";
    for (let i = 0; i < k.count; i++) if (k.nameOf(i) !== original.nameOf(i)) {
      wrong++;
      ex = `${original.nameOf(i)} -> ${k.nameOf(i)}`;
    }
    if (wrong > 0) console.log("UNDETECTED at", at - from, "byte", String.fromCharCode(byte), wrong, ex);
    else {
      detected++;
    }
  } catch {
    detected++;
  }
  data[at] = byte;
}
console.log(which.slice(0, 8), detected, "of", n);
