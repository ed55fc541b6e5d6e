import { gunzipSync } from "node:zlib";
import { execa } from "execa";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";

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

/** The formats that `scripts/Makefile.lib` can make (cmd_gzip … cmd_zstd22); lz4 is its legacy frame, which `lz4 -dc` reads too. */
const formats: readonly Format[] = [
  { name: "gzip", magic: [0x1f, 0x8b] },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68], program: ["bzip2", "-dc"], package: "bzip2" },
  { name: "lzma", magic: [0x5d, 0x00, 0x00], program: ["xz", "--format=lzma", "-dc"], package: "xz-utils" },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], program: ["xz", "-dc"], package: "xz-utils" },
  { name: "lzo", magic: [0x89, 0x4c, 0x5a, 0x4f], program: ["lzop", "-dc"], package: "lzop" },
  { name: "lz4", magic: [0x02, 0x21, 0x4c, 0x18], program: ["lz4", "-dc"], package: "lz4" },
  { name: "lz4", magic: [0x04, 0x22, 0x4d, 0x18], program: ["lz4", "-dc"], package: "lz4" },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], program: ["zstd", "-dc", "--long=31"], package: "zstd" },
];

/** The compression that the first bytes name, or undefined. */
export function compressionOf(data: Uint8Array): Compression | undefined {
  return formatOf(data)?.name;
}

/**
 * Unpacks a whole compressed stream.
 * @param what name of the file, for messages.
 * @throws KmendError `COMPRESSION_DAMAGED` for damaged or truncated data, `PROGRAM_MISSING` (exit 5) when the program is not installed.
 */
export async function decompress(data: Uint8Array, what: string, signal?: AbortSignal): Promise<Buffer> {
  const format = formatOf(data);
  if (format === undefined) throw new Error(`${what} is not compressed in a known format`);
  if (format.program === undefined) {
    try {
      return gunzipSync(data);
    } catch (error) {
      throw damaged(what, format.name, messageOf(error), error);
    }
  }
  const [program, ...args] = format.program;
  const result = await execa(program, args, {
    input: data,
    encoding: "buffer",
    reject: false,
    maxBuffer: 2 ** 31 - 1,
    env: { LC_ALL: "C" },
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  signal?.throwIfAborted();
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
  return Buffer.from(result.stdout.buffer, result.stdout.byteOffset, result.stdout.byteLength);
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
