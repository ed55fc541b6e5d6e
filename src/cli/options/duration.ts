import { usageError } from "./usage.ts";

/** Seconds of each unit of a duration. */
const units: Readonly<Record<string, number>> = { s: 1, min: 60, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Seconds of a duration such as `90s`, `30m`, `12h`, `7d`. @throws KmendError `USAGE` */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6})(s|min|m|h|d|w)$/.exec(text);
  const seconds = Number(match?.[1] ?? 0) * (units[match?.[2] ?? ""] ?? 0);
  if (seconds > 0) return seconds;
  throw usageError("kmend stop", `"${text}" is no duration: give a number with s, m, h, d or w`);
}
