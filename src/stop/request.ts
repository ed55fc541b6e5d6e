import { ExitCode, KmendError } from "../support/errors.ts";

/** A function that is to be stopped, as somebody named it. */
export interface WantedFunction {
  readonly name: string;
  /** Module that it is in; undefined: the kernel itself. */
  readonly object: string | undefined;
  /** Position among equal names, from 1; undefined when the name has to be unique. */
  readonly sympos: number | undefined;
  /** Value to return; undefined: what its type suggests. */
  readonly returns: string | undefined;
}

/**
 * Reads `[MODULE:]FUNCTION[,POSITION][=VALUE]`.
 * @param defaults for what the text leaves out.
 * @throws KmendError `USAGE` (exit 2)
 */
export function parseWanted(text: string, defaults: Partial<Omit<WantedFunction, "name">> = {}): WantedFunction {
  const match = /^(?:([\w-]+):)?([A-Za-z_][\w.$]*)(?:,(\d{1,6}))?(?:=(.+))?$/.exec(text);
  const position = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match === null || position === 0) {
    throw new KmendError({
      code: "USAGE",
      message: `"${text}" does not name a function`,
      hint: "give FUNCTION, or all that can be said: MODULE:FUNCTION,POSITION=VALUE; positions count from 1",
      exitCode: ExitCode.usage,
    });
  }
  return {
    name: match[2] as string,
    object: (match[1] ?? defaults.object)?.replaceAll("-", "_"),
    sympos: position ?? defaults.sympos,
    returns: match[4] ?? defaults.returns,
  };
}
