/** What a browser or a reader would obey or not see: control characters, marks that turn the direction of text round (UAX #9), and invisible ones. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u2028\u2029]/gu;

/** Text from outside as it may be shown: what cannot be seen becomes something that can. Tabs and line feeds stay. */
export function visibleText(text: string): string {
  return text.replaceAll(/\r\n?/g, "\n").replaceAll(unseen, (sign) => {
    if (sign === "\t" || sign === "\n") return sign;
    const code = sign.codePointAt(0) ?? 0;
    // The pictures for control characters (Unicode block 2400).
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "\u2421" : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

/** {@link visibleText} of every text in a value; its names of fields are ours. */
export function visibleTexts<Value>(value: Value): Value {
  return mapped(value) as Value;
}

function mapped(value: unknown): unknown {
  if (typeof value === "string") return visibleText(value);
  if (Array.isArray(value)) return value.map(mapped);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, mapped(inner)]));
}
