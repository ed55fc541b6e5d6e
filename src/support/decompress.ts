import { gunzipSync } from "node:zlib";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "./errors.ts";

/** Compression formats of kernel images and modules. */
export type Compression = "gzip" | "bzip2" | "lzma" | "xz" | "lzo" | "lz4" | "zstd";

interface Format {
  readonly name: Compression;
  /** First bytes of a stream. */
  readonly magic: readonly number[];
  /** Program that reads the stream on standard input and writes the content; none for what Node does itself. */
  readonly program?: readonly [string, ...string[]];
  /** Debian package of the program. */
  readonly package?: string;
}

/**
 * Most bytes that a kernel image or module may unpack to: 512 MiB. The mapping of an x86 kernel's whole image has no more (KERNEL_IMAGE_SIZE of
 * arch/x86/include/asm/page_64_types.h, without address randomisation), and a module with all debug information of the largest driver has less.
 */
export const unpackedLimit = 2 ** 29;

/** What xz may take for its dictionary; the kernel's build uses one of 128 MiB (scripts/xz_wrap.sh). */
const xzMemory = "--memlimit-decompress=512MiB";

/** The formats that `scripts/Makefile.lib` can make (cmd_gzip … cmd_zstd22); lz4 is its legacy frame, which `lz4 -dc` reads too. */
const formats: readonly Format[] = [
  { name: "gzip", magic: [0x1f, 0x8b] },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68], program: ["bzip2", "-dc"], package: "bzip2" },
  { name: "lzma", magic: [0x5d, 0x00, 0x00], program: ["xz", "--format=lzma", xzMemory, "-dc"], package: "xz-utils" },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], program: ["xz", xzMemory, "-dc"], package: "xz-utils" },
  { name: "lzo", magic: [0x89, 0x4c, 0x5a, 0x4f], program: ["lzop", "-dc"], package: "lzop" },
  { name: "lz4", magic: [0x02, 0x21, 0x4c, 0x18], program: ["lz4", "-dc"], package: "lz4" },
  { name: "lz4", magic: [0x04, 0x22, 0x4d, 0x18], program: ["lz4", "-dc"], package: "lz4" },
  // A window of 512 MiB: a stream that says its size may ask for one as large.
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], program: ["zstd", "-dc", "--long=29"], package: "zstd" },
];

/** The compression that the first bytes name, or undefined. */
export function compressionOf(data: Uint8Array): Compression | undefined {
  return formatOf(data)?.name;
}

/** How {@link decompress} is limited. */
export interface DecompressOptions {
  readonly signal?: AbortSignal | undefined;
  /** Most bytes that may come out; default {@link unpackedLimit}. */
  readonly limit?: number | undefined;
}

/**
 * Unpacks a whole compressed stream. What comes out is counted while it comes, so a stream that never ends costs no more memory than the limit.
 * @param what name of the file, for messages.
 * @throws KmendError `COMPRESSION_DAMAGED` for damaged or truncated data, `UNPACKED_TOO_LARGE` beyond the limit, `PROGRAM_MISSING` (exit 5) when the
 *   program is not installed.
 */
export async function decompress(data: Uint8Array, what: string, options: DecompressOptions = {}): Promise<Buffer> {
  const { limit = unpackedLimit, signal } = options;
  const format = formatOf(data);
  if (format === undefined) throw new Error(`${what} is not compressed in a known format`);
  if (format.program === undefined) {
    try {
      return gunzipSync(data, { maxOutputLength: limit });
    } catch (error) {
      if (systemErrorCode(error) === "ERR_BUFFER_TOO_LARGE") throw tooLarge(what, limit);
      throw damaged(what, format.name, messageOf(error), error);
    }
  }
  const [program, ...args] = format.program;
  const { execa } = await import("execa");
  const running = execa(program, args, {
    input: data,
    encoding: "buffer",
    reject: false,
    buffer: { stdout: false },
    env: { LC_ALL: "C" },
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of running.iterable({
    from: "stdout",
    binary: true,
    preserveNewlines: true,
  }) as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > limit) break;
    parts.push(Buffer.from(part.buffer, part.byteOffset, part.byteLength));
  }
  if (size > limit) running.kill("SIGKILL");
  const result = await running;
  signal?.throwIfAborted();
  if (size > limit) throw tooLarge(what, limit);
  if (result.code === "ENOENT") {
    throw new KmendError({
      code: "PROGRAM_MISSING",
      message: `${program} is not installed, and ${what} is compressed with ${format.name}`,
      hint: `install it: sudo apt-get install ${format.package}`,
      exitCode: ExitCode.environment,
    });
  }
  if (result.failed) {
    throw damaged(what, format.name, Buffer.from(result.stderr).toString("utf8").trim(), result);
  }
  return Buffer.concat(parts, size);
}

function tooLarge(what: string, limit: number): KmendError {
  return new KmendError({
    code: "UNPACKED_TOO_LARGE",
    message: `${what} unpacks to more than ${limit / 2 ** 20} MiB`,
    where: what,
    why: "no kernel image or module has more; a file that does is damaged, or made to fill the memory",
    hint: "fetch or build the file again; a larger vmlinux can be given unpacked with --image",
  });
}

function formatOf(data: Uint8Array): Format | undefined {
  return formats.find(({ magic }) => magic.every((byte, index) => data[index] === byte));
}

function damaged(what: string, format: Compression, why: string, cause: unknown): KmendError {
  return new KmendError({
    code: "COMPRESSION_DAMAGED",
    message: `the ${format} data of ${what} is damaged or truncated`,
    where: what,
    why,
    hint: "fetch or build the file again",
    cause,
  });
}
