import { ExitCode, KmendError } from "../support/errors.ts";

/** Options of patch(1) that would read or write something else than the private copies which the patch is applied to. */
const refused: Readonly<Record<string, string>> = {
  o: "--output",
  i: "--input",
  d: "--directory",
  r: "--reject-file",
  B: "--prefix",
  Y: "--basename-prefix",
  z: "--suffix",
  V: "--version-control",
  b: "--backup",
};

/** Short options of patch(1) that take a value. */
const withValue = "BdDFgiorpVYz";

/** Options for patch(1) as words, with the number of leading folders that they drop; `"all"` when none of them says. */
export interface PatchOptions {
  readonly words: readonly string[];
  readonly strip: number | "all";
}

/**
 * Reads options for patch(1), each given as one word or as several with blanks between. Without any, `-p1` is meant; with some, only these: patch(1) then
 * keeps the last part of a file's name alone, unless one of them is `-p`.
 * @throws KmendError `PATCH_OPTION` (exit 2) for an option that would make patch(1) work on other files.
 */
export function readPatchOptions(given: readonly string[]): PatchOptions {
  const words = given.length === 0 ? ["-p1"] : given.flatMap((text) => text.split(/\s+/).filter(Boolean));
  let strip: PatchOptions["strip"] = "all";
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const long = /^--([a-z-]+)(?:=(.*))?$/.exec(word);
    if (long !== null) {
      const [, name = "", value] = long;
      const full = (option: string): boolean => name.length > 1 && option.startsWith(`--${name}`);
      if (Object.values(refused).some(full)) throw optionError(word, "it names other files");
      if (full("--strip")) strip = stripLevel(word, value ?? words[++at]);
      continue;
    }
    if (!word.startsWith("-") || word === "-") throw optionError(word, "it is no option");
    for (let letter = 1; letter < word.length; letter++) {
      const option = word[letter] as string;
      if (refused[option] !== undefined) throw optionError(word, "it names other files");
      if (!withValue.includes(option)) continue;
      const value = word.slice(letter + 1) || words[++at];
      if (option === "p") strip = stripLevel(word, value);
      break;
    }
  }
  return { words, strip };
}

function stripLevel(word: string, value: string | undefined): number {
  if (value !== undefined && /^\d{1,3}$/.test(value)) return Number(value);
  throw optionError(word, "it needs a number");
}

function optionError(word: string, why: string): KmendError {
  return new KmendError({
    code: "PATCH_OPTION",
    message: `the option ${word} cannot be given to patch`,
    why: `${why}; the patch is applied to private copies of the files that it touches`,
    hint: "options such as -p0, -R, -l or -F3 can be given",
    exitCode: ExitCode.usage,
  });
}
