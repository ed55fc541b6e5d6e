/** What one error of the compiler misses. */
export interface Missed {
  /** File of the error, relative to the tree. */
  readonly place: string;
  /** Names that may be declared, or declared otherwise, in a header that the patch lacks. */
  readonly names: readonly string[];
  /** The names are declared already, and their declarations differ: the difference may be in another line than the name. */
  readonly isDeclared?: true | undefined;
  /** The structure whose member it is. */
  readonly within?: string | undefined;
  /** A header that is not there. */
  readonly header?: string | undefined;
}

/** Reads the errors of gcc. */
export function missedNames(errors: string): Missed[] {
  return errors.split("\n").flatMap((line): Missed[] => {
    const match = /^(?:\.\/)?([^\s:]+):\d+(?::\d+)?: (?:fatal )?error: (.*)$/.exec(line);
    if (match === null) return [];
    const [, place, said] = match as unknown as [string, string, string];
    const message = said.replace(/; did you mean .*$/, "");
    const header = /^(\S+\.h): No such file/.exec(message)?.[1];
    if (header !== undefined) return [{ place, names: [], header }];
    const member = /^['‘](?:const )?(?:struct|union) (\w+)['’] has no member named ['‘](\w+)['’]/.exec(message);
    if (member !== null) return [{ place, names: [member[2] as string], within: `struct ${member[1]}` }];
    const incomplete = /(?:incomplete|undefined) type ['‘](?:const )?(?:struct|union|enum) (\w+)/.exec(message);
    if (incomplete !== null) return [{ place, names: [incomplete[1] as string] }];
    const quoted = [...message.matchAll(/['‘]([^'’]+)['’]/g)].map(([, text]) => wordsOf(text as string));
    // The first name is what the error is about; the others are its types.
    const names = quoted.find((words) => words.length > 0) ?? [];
    const isDeclared = /^(?:conflicting types for|too (?:many|few) arguments|passing argument)/.test(message);
    return [{ place, names, ...(isDeclared ? { isDeclared } : {}) }];
  });
}

/** Names in a piece of C, the last one of `a->b->c` only. */
function wordsOf(text: string): string[] {
  const words = text.replaceAll(/\w+(?:->|\.)(?=\w)/g, "").match(/[A-Za-z_]\w+/g);
  return [...new Set(words ?? [])].filter((word) => !keywords.has(word));
}

const keywords = new Set(
  "struct union enum const static inline int long short char void unsigned signed bool u8 u16 u32 u64 size_t sizeof".split(
    " ",
  ),
);
