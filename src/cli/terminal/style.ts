import { styleText } from "node:util";
import { environmentOf } from "../../support/environment.ts";
import { ownEscape } from "./terminal.ts";

type Format = Parameters<typeof styleText>[0];

/** Colours a text where the stream can show it, and leaves it alone elsewhere. */
export type Style = (format: Format, text: string) => string;

/** The parts of a stream that decide how it is written to. */
export interface StreamTraits {
  readonly isTTY?: boolean | undefined;
}

/** Decides itself, as styleText() would only look at the real standard output. Follows https://no-color.org, FORCE_COLOR and TERM=dumb; otherwise colours are for terminals. */
export function styleFor(stream: StreamTraits, env = environmentOf(["NO_COLOR", "FORCE_COLOR", "TERM"])): Style {
  const forced = env["FORCE_COLOR"] !== undefined && env["FORCE_COLOR"] !== "0";
  const forbidden = (env["NO_COLOR"] ?? "") !== "" || env["FORCE_COLOR"] === "0";
  const coloured = !forbidden && (forced || (stream.isTTY === true && env["TERM"] !== "dumb"));
  if (!coloured) return (_format, text) => text;
  return (format, text) => {
    // What is in the text already may come from elsewhere.
    const [before = "", after = ""] = styleText(format, "\0", { validateStream: false }).split("\0");
    return `${before.replaceAll("\u001b", ownEscape)}${text}${after.replaceAll("\u001b", ownEscape)}`;
  };
}
