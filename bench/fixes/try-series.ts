import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type InitramfsContent, makeInitramfs } from "../../src/vm/initramfs.ts";
import { runGuest } from "../../src/vm/qemu.ts";
import { type Frame, FrameDecoder } from "../../src/vm/serial-frames.ts";
import type { Accelerator, BootableKernel } from "../../src/vm/try-types.ts";
import { seriesScript } from "./series-script.ts";
import type { Candidate } from "./try-fixes.ts";

/** What one boot left behind. */
export interface SeriesRun {
  readonly frames: readonly Frame[];
  /** Files of the guest, by number. */
  readonly files: readonly string[];
  /** How the guest ended, when it did not say that it is done. */
  readonly end: string;
  readonly console: string;
}

/** Seconds without a frame after which the guest counts as dead: twice the longest limit of its script. */
const silenceSeconds = 150;

/** Boots one guest that takes the candidates one after the other. */
export async function runSeries(
  batch: readonly Candidate[],
  kernel: BootableKernel,
  accelerator: Accelerator,
  folder: string,
): Promise<SeriesRun> {
  const files = [...new Set(batch.flatMap(({ targets, module }) => [...targets, module]))];
  const number = (file: string): number => files.indexOf(file);
  const token = randomBytes(6).toString("hex");
  const entries = batch.map(({ name, module, staysInMemory, targets }) => ({
    ...{ name, staysInMemory },
    file: number(module),
    targets: targets.map(number),
  }));
  const content = { init: seriesScript(token, entries), modules: files };
  const timeoutSeconds = silenceSeconds * (batch.length + 1);
  return {
    files,
    ...(await watchGuest({ token, content, kernel, accelerator, folder, silenceSeconds, timeoutSeconds })),
  };
}

/** A guest that must say something from time to time. */
export interface WatchedGuest {
  readonly token: string;
  readonly content: InitramfsContent;
  readonly kernel: BootableKernel;
  readonly accelerator: Accelerator;
  readonly folder: string;
  readonly silenceSeconds: number;
  readonly timeoutSeconds: number;
  readonly megabytes?: number | undefined;
  readonly onFrame?: ((frame: Frame) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Boots a guest and takes its frames until it is done, dead, or silent for too long. */
export async function watchGuest(guest: WatchedGuest): Promise<Omit<SeriesRun, "files">> {
  const { token, content, kernel, accelerator, folder, silenceSeconds, timeoutSeconds } = guest;
  const initramfs = await makeInitramfs(folder, content);
  const silence = new AbortController();
  const watch = (): NodeJS.Timeout => setTimeout(() => silence.abort(new Error("silence")), silenceSeconds * 1000);
  let timer = watch();
  const decoder = new FrameDecoder(token, (frame) => {
    clearTimeout(timer);
    timer = watch();
    guest.onFrame?.(frame);
  });
  const onData = (piece: string): boolean => {
    decoder.push(piece);
    return decoder.find("done") !== undefined;
  };
  try {
    const end = await runGuest({
      ...{ accelerator, imagePath: kernel.imagePath, initramfs, folder, timeoutSeconds, onData },
      megabytes: guest.megabytes ?? 1536,
      signal: AbortSignal.any([silence.signal, ...(guest.signal === undefined ? [] : [guest.signal])]),
    });
    const panic = /Kernel panic - not syncing: (.*)/.exec(end.console)?.[1]?.trim();
    const how =
      panic === undefined
        ? `QEMU ended with ${end.exitCode ?? "a signal"} ${end.stderr.trim()}`
        : `the guest panicked (${panic})`;
    return { frames: decoder.frames, end: end.timedOut ? "the guest took too long" : how, console: end.console };
  } catch (error) {
    if (!silence.signal.aborted || guest.signal?.aborted === true) throw error;
    const console = await readFile(join(folder, "console.log"), "utf8").catch(() => "");
    return { frames: decoder.frames, end: `the guest said nothing for ${silenceSeconds} s`, console };
  } finally {
    clearTimeout(timer);
  }
}
