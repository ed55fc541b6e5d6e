/** What a timer is told, so that it ends the very load that it was set for and none that came later under the same name. */
export interface Expiry {
  /** Name of the module, with underscores. */
  readonly name: string;
  /** When it was loaded, as its record has it. */
  readonly since: string;
}

/** An expiry in one word, as the timer's command has it. */
export function expiryText({ name, since }: Expiry): string {
  return `${name},${since}`;
}

/** Reads {@link expiryText}; undefined for anything else. */
export function parseExpiry(text: string): Expiry | undefined {
  const match = /^(\w{1,55}),(\d{4}-\d\d-\d\dT[\d:.]+Z)$/.exec(text);
  return match === null ? undefined : { name: match[1] as string, since: match[2] as string };
}
