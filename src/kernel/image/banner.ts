import { KmendError } from "../../support/errors.ts";

/** What the kernel says about itself (init/version.c, `linux_banner`; `/proc/version` shows the same). */
export interface KernelBanner {
  /** The whole line, without the newline. */
  readonly text: string;
  /** `uname -r`. */
  readonly release: string;
  /** Who built it, for example `debian-kernel@lists.debian.org`. */
  readonly builder: string;
  /** First line of the compiler's version, for example `gcc-12 (Debian 12.2.0-9) 12.2.0`. */
  readonly compiler: string;
  /** First line of the linker's version; empty before Linux 5.8, which does not tell. */
  readonly linker: string;
  /** `uname -v`, for example `#1 SMP PREEMPT_DYNAMIC Debian 6.1.9-1 (2024-01-31)`. */
  readonly version: string;
}

/**
 * Takes `Linux version R (builder) (compiler, linker) #1 …` apart.
 * @throws KmendError `BANNER_UNKNOWN` when the line does not look like that.
 */
export function parseBanner(text: string): KernelBanner {
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
        release: start[1] as string,
        builder: text.slice(start[0].length, builderEnd),
        compiler,
        linker,
        version: text.slice(toolsEnd + 1).trim(),
      };
    }
  }
  throw new KmendError({
    code: "BANNER_UNKNOWN",
    message: "the kernel's version line cannot be understood",
    where: text.slice(0, 300),
    hint: "check that the image is a Linux kernel",
  });
}

/** Index of the parenthesis that closes the group whose content starts at `from`, or -1. */
function closing(text: string, from: number): number {
  let depth = 1;
  for (let index = from; index < text.length; index++) {
    if (text[index] === "(") depth++;
    else if (text[index] === ")" && --depth === 0) return index;
  }
  return -1;
}

/** `gcc-12 (Debian 12.2.0-9) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40` has one comma outside parentheses. */
function splitTools(tools: string): [compiler: string, linker: string] {
  let depth = 0;
  for (let index = 0; index < tools.length; index++) {
    if (tools[index] === "(") depth++;
    else if (tools[index] === ")") depth--;
    else if (tools[index] === "," && depth === 0) return [tools.slice(0, index).trim(), tools.slice(index + 1).trim()];
  }
  return [tools, ""];
}
