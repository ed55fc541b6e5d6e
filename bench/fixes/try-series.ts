import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeInitramfs } from "../../src/vm/initramfs.ts";
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
  const entries = batch.map(({ name, module, targets }) => ({
    name,
    file: number(module),
    targets: targets.map(number),
  }));
  const initramfs = await makeInitramfs(folder, { init: seriesScript(token, entries), modules: files });
  const silence = new AbortController();
  const watch = (): NodeJS.Timeout => setTimeout(() => silence.abort(new Error("silence")), silenceSeconds * 1000);
  let timer = watch();
  const decoder = new FrameDecoder(token, () => {
    clearTimeout(timer);
    timer = watch();
  });
  const onData = (piece: string): boolean => {
    decoder.push(piece);
    return decoder.find("done") !== undefined;
  };
  try {
    const timeoutSeconds = silenceSeconds * (batch.length + 1);
    const end = await runGuest({
      ...{ accelerator, imagePath: kernel.imagePath, initramfs, folder, timeoutSeconds, onData },
      megabytes: 1536,
      signal: silence.signal,
    });
    const panic = /Kernel panic - not syncing: (.*)/.exec(end.console)?.[1]?.trim();
    const how =
      panic === undefined
        ? `QEMU ended with ${end.exitCode ?? "a signal"} ${end.stderr.trim()}`
        : `the guest panicked (${panic})`;
    return { frames: decoder.frames, files, end: end.timedOut ? "the guest took too long" : how, console: end.console };
  } catch (error) {
    if (!silence.signal.aborted) throw error;
    const console = await readFile(join(folder, "console.log"), "utf8").catch(() => "");
    return { frames: decoder.frames, files, end: `the guest said nothing for ${silenceSeconds} s`, console };
  } finally {
    clearTimeout(timer);
  }
}
