/** Comments, preprocessor lines with their continuations, strings and characters. */
const hidden =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|^[ \t]*#(?:\\\n|[^\n])*|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'/gm;

/** A C text of the same length in which only code is left: what is no code is blank, the quotes of strings apart. */
export function maskedCode(text: string): string {
  return text.replace(hidden, (found) => {
    const blank = found.replaceAll(/[^\n]/g, " ");
    return found.startsWith('"') ? `"${blank.slice(2)}"` : blank;
  });
}
