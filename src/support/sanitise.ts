/** What a terminal or the reader of a log would obey: control characters (C0, DEL, C1), and those that turn the direction of text round (UAX #9). */
const obeyed = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Text that comes from elsewhere, such as the name of a task or a description: what a terminal would obey is shown as a question mark. */
export function sanitise(text: string): string {
  return text.replaceAll(/\r\n?/g, "\n").replaceAll(obeyed, (sign) => (sign === "\t" || sign === "\n" ? sign : "?"));
}

/** {@link sanitise} of what belongs on one line, as a name does. */
export function sanitiseLine(text: string): string {
  return text.replaceAll(obeyed, "?");
}

/**
 * JSON in which every such character is escaped, also those that JSON.stringify() leaves as they are; the value is the same.
 * @param indent 0 for all of it in one line.
 */
export function sanitiseJson(value: unknown, indent = 2): string {
  const escaped = (sign: string): string => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value, null, indent).replaceAll(obeyed, (sign) => (sign === "\n" ? sign : escaped(sign)));
}
