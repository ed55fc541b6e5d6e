import { randomBytes } from "node:crypto";
import { sanitise } from "../../support/sanitise.ts";

/**
 * Stands for the escape character in texts that kmend itself makes, until they are written. Nobody who writes a manifest, a symbol or a file name can know it,
 * so everything else that a terminal would obey is known to come from elsewhere.
 */
export const ownEscape: string = `\uE000${randomBytes(8).toString("hex")}\uE001`;

/** A stream that text is written to. */
export interface TextStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const safe = new WeakSet<TextStream>();

/**
 * The same stream, to which nothing is written that a terminal or a log would obey, but for what kmend itself has put there. All output of all programs
 * goes through this.
 */
export function terminal(stream: TextStream): TextStream {
  if (safe.has(stream)) return stream;
  const wrapped: TextStream = {
    get isTTY() {
      return stream.isTTY;
    },
    get columns() {
      return stream.columns;
    },
    write: (text) => stream.write(sanitise(text).replaceAll(ownEscape, "\u001b")),
  };
  safe.add(wrapped);
  return wrapped;
}
