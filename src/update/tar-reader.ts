import type { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "../support/errors.ts";

/** Most bytes that an update may have, packed or unpacked: some modules and the objects of a debug folder are far below it. */
export const updateSizeLimit = 256 * 1024 * 1024;

/** Most files in an update. */
export const fileLimit = 4096;

const block = 512;

/**
 * Reads a tar archive that gzip packed, in memory: nothing is written, so nothing in it can get anywhere. Only plain files and folders in one folder are
 * taken, with names of harmless characters.
 * @returns content by path below that folder.
 * @throws KmendError `BAD_UPDATE` for everything else, and for an archive that unpacks to more than {@link updateSizeLimit}.
 */
export async function readTarball(path: string): Promise<Map<string, Buffer>> {
  const packed = await readLimited(path);
  let content: Buffer;
  try {
    content = await promisify(gunzip)(packed, { maxOutputLength: updateSizeLimit });
  } catch (error) {
    const tooLarge = systemErrorCode(error) === "ERR_BUFFER_TOO_LARGE";
    throw badUpdate(
      path,
      tooLarge ? `it unpacks to more than ${updateSizeLimit} bytes` : "gzip cannot unpack it",
      error,
    );
  }
  const files = new Map<string, Buffer>();
  let base: string | undefined;
  let at = 0;
  for (; at + block <= content.length; ) {
    const header = content.subarray(at, at + block);
    if (header.every((byte) => byte === 0)) break;
    requireChecksum(path, header);
    const name = nameIn(header);
    const size = octal(path, header.subarray(124, 136));
    const kind = String.fromCharCode(header[156] as number);
    const from = at + block;
    at = from + Math.ceil(size / block) * block;
    if (at > content.length) throw badUpdate(path, `${sanitise(name)} is cut off`);
    const isFolder = kind === "5";
    if (!isFolder && kind !== "0" && kind !== "\0") {
      throw badUpdate(path, `${sanitise(name)} is neither a file nor a folder (type ${sanitise(kind)})`);
    }
    const [top = "", ...rest] = (isFolder ? name.replace(/\/$/, "") : name).split("/");
    base ??= top;
    if (top !== base || !isHarmless(top)) throw badUpdate(path, `${sanitise(name)} is outside of its folder`);
    if (isFolder && size === 0 && rest.every(isHarmless)) continue;
    const inside = rest.join("/");
    if (isFolder || rest.length === 0 || !rest.every(isHarmless)) {
      throw badUpdate(path, `${sanitise(name)} is no name of a file in an update`);
    }
    if (files.has(inside)) throw badUpdate(path, `${inside} is in it twice`);
    if (files.size >= fileLimit) throw badUpdate(path, `it holds more than ${fileLimit} files`);
    files.set(inside, content.subarray(from, from + size));
  }
  if (files.size === 0) throw badUpdate(path, "it is empty");
  return files;
}

/** One part of a path: no `.` or `..`, nothing that a shell or a terminal would take for something else. */
export function isHarmless(part: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}$/.test(part);
}

async function readLimited(path: string): Promise<Buffer> {
  try {
    const info = await stat(path);
    // A device has no size, and no end either.
    if (!info.isFile()) throw badUpdate(path, "it is neither a file nor a folder");
    const { size } = info;
    if (size > updateSizeLimit) throw badUpdate(path, `it has ${size} bytes`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof KmendError) throw error;
    throw badUpdate(path, messageOf(error), error);
  }
}

/** Name of a POSIX ustar header: prefix and name (pax(1), "ustar Interchange Format"). */
function nameIn(header: Buffer): string {
  const prefix = header.toString("latin1", 257, 262) === "ustar" ? text(header.subarray(345, 500)) : "";
  const name = text(header.subarray(0, 100));
  return prefix === "" ? name : `${prefix}/${name}`;
}

function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end < 0 ? field.length : end);
}

function octal(path: string, field: Buffer): number {
  const digits = text(field).trim();
  if (!/^[0-7]{1,11}$/.test(digits)) throw badUpdate(path, "a size in it is no number");
  return Number.parseInt(digits, 8);
}

function requireChecksum(path: string, header: Buffer): void {
  const stored = octal(path, header.subarray(148, 156));
  let sum = 8 * 0x20;
  for (let at = 0; at < block; at++) if (at < 148 || at >= 156) sum += header[at] as number;
  if (sum !== stored) throw badUpdate(path, "it is damaged, or no tar archive");
}

function sanitise(name: string): string {
  return JSON.stringify(name.slice(0, 120));
}

/** The error for an update that cannot be trusted. */
export function badUpdate(path: string, why: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "BAD_UPDATE",
    message: `${path} is not an update that can be used`,
    why,
    hint: "get it again from where it comes from, or make it again with ksplice-create",
    exitCode: ExitCode.failure,
    cause,
  });
}
