import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KmendError, systemErrorCode } from "../../src/support/errors.ts";
import { mutate, Random } from "./mutate.ts";
import { type FuzzedParser, parsers } from "./parsers.ts";

/** The input with that number: the same for the same seed, whichever came before it. */
export function inputNumber(seeds: readonly Uint8Array[], seed: number, number: number): Buffer {
  const random = new Random(seed * 1_000_003 + number);
  return mutate(seeds[random.below(seeds.length)] as Uint8Array, random);
}

/**
 * Gives a parser damaged inputs one after the other, in a process that may be killed for it. The number of each is written before it is read, and after a
 * foreign exception what it was.
 */
export async function runParser([name, seed, from, to]: readonly string[]): Promise<void> {
  const parser = parsers[name ?? ""] as FuzzedParser;
  const seeds = parser.seeds();
  const scratch = mkdtempSync(join(tmpdir(), "kmend-fuzz-"));
  try {
    for (let number = Number(from); number < Number(to); number++) {
      tell(`${number}\n`);
      try {
        await parser.read(inputNumber(seeds, Number(seed), number), scratch);
      } catch (error) {
        if (error instanceof KmendError) continue;
        const text = error instanceof Error ? `${error.stack}` : String(error);
        tell(`foreign ${number} ${JSON.stringify(text.split("\n").slice(0, 4).join(" "))}\n`);
      }
    }
    tell(`done ${Math.round(process.resourceUsage().maxRSS / 1024)}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Writes at once, also while the reader has no time and the pipe is full. */
function tell(text: string): void {
  for (;;) {
    try {
      writeSync(1, text);
      return;
    } catch (error) {
      if (systemErrorCode(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
