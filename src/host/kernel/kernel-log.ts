import { closeSync, constants, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { systemErrorCode } from "../../support/errors.ts";
import { readState } from "./host.ts";

/** One line of the kernel log. */
export interface LogLine {
  readonly sequence: number;
  /** Microseconds since boot. */
  readonly time: number;
  readonly text: string;
}

/**
 * Lines of the kernel log that are still in its buffer (Documentation/ABI/testing/dev-kmsg).
 * @param after only lines with a higher number.
 * @returns an empty list when the log cannot be read.
 */
export function readKernelLog(root: string, after = -1): readonly LogLine[] {
  let file: number;
  try {
    file = openSync(join(root, "/dev/kmsg"), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return [];
  }
  const lines: LogLine[] = [];
  const buffer = Buffer.alloc(8192);
  try {
    for (;;) {
      try {
        const size = readSync(file, buffer);
        if (size === 0) break;
        const line = parseRecord(buffer.toString("utf8", 0, size));
        if (line !== undefined && line.sequence > after) lines.push(line);
      } catch (error) {
        // EPIPE: the line was overwritten before it was read; the next one follows. EAGAIN: that was the last.
        if (systemErrorCode(error) !== "EPIPE") break;
      }
    }
  } finally {
    closeSync(file);
  }
  return lines;
}

/** `6,1234,5678901,-;text`, then lines with properties. */
function parseRecord(record: string): LogLine | undefined {
  const match = /^\d+,(\d+),(\d+),[^;]*;([^\n]*)/.exec(record);
  if (match === null) return undefined;
  return { sequence: Number(match[1]), time: Number(match[2]), text: match[3] as string };
}

/** Number of the newest line, to be given to {@link readKernelLog} later. */
export function newestLogLine(root: string): number {
  return readKernelLog(root).at(-1)?.sequence ?? -1;
}

/** What the kernel says about a module or a live patch that it refused, each thing once (insmod tries twice). */
export function complaintsAbout(lines: readonly LogLine[], name: string): readonly string[] {
  const about = lines
    .map(({ text }) => text)
    .filter((text) => text.includes(name) || /\b(?:livepatch|ftrace):/.test(text));
  return [...new Set(about)].filter((text) => !/tainting kernel|loading out-of-tree module/.test(text));
}

/** When the last line of the kernel log with this text was written, as ISO 8601 in UTC; null when there is none that can be read. */
export async function timeOfLogLine(root: string, text: string): Promise<string | null> {
  const line = readKernelLog(root).findLast((candidate) => candidate.text.includes(text));
  const uptime = Number((await readState(root, "/proc/uptime"))?.split(" ")[0]);
  if (line === undefined || !Number.isFinite(uptime)) return null;
  return new Date(Date.now() - uptime * 1000 + line.time / 1000).toISOString();
}

/** When the last transition of a patch began, as {@link timeOfLogLine}. */
export function transitionStart(root: string, name: string, enabling: boolean): Promise<string | null> {
  return timeOfLogLine(root, `livepatch: '${name}': starting ${enabling ? "patching" : "unpatching"} transition`);
}
