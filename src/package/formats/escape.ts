/** C0 and C1 controls and the two Unicode separators, which some readers take for the end of a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is to be found
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** Text for one line: white space and control characters become single spaces, half surrogate pairs a question mark. */
export function oneLine(text: string): string {
  return wellFormed(text).replace(control, " ").replace(/\s+/g, " ").trim();
}

/** Lines of a text, without control characters, trailing white space, or empty lines at either end. */
function plainLines(text: string): readonly string[] {
  const lines = wellFormed(text)
    .split(/\r\n|[\n\r\u2028\u2029]/)
    .map((line) => line.replaceAll("\t", "        ").replace(control, "").trimEnd());
  while (lines[0] === "") lines.shift();
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

/**
 * Text for the value of a tag in an RPM spec: one line in which rpm expands nothing (`%` is `%%`).
 * A backslash at the end would join the next line, so a full stop follows it.
 */
export function specLine(text: string): string {
  const line = oneLine(text).replaceAll("%", "%%");
  return line.endsWith("\\") ? `${line}.` : line;
}

/**
 * Text for a section of an RPM spec such as %description. rpm looks for section names and conditionals *after* it expanded a line, so `%%files` at the
 * start of one would still begin a section (build/parseSpec.c, readLine): such lines get `> ` before them. Lines that begin with `#` would vanish as comments
 * in some sections, and get it too.
 */
export function specText(text: string): string {
  return plainLines(text)
    .map((line) => {
      const escaped = line.replaceAll("%", "%%").replace(/\\$/, "\\.");
      return /^\s*[%#]/.test(line) ? `> ${escaped}` : escaped;
    })
    .join("\n");
}

/** A whole shell script as the body of a scriptlet or build section of a spec. */
export function specScript(script: string): string {
  return script.replaceAll("%", "%%");
}

/** Text for the value of a field in a Debian control file (deb-control(5)): one line. */
export function controlLine(text: string): string {
  return oneLine(text);
}

/** Text below the synopsis of a Description field: each line starts with a space, an empty one is ` .`. */
export function controlText(text: string): string {
  return plainLines(text)
    .map((line) => (line === "" ? " ." : ` ${/^[.]/.test(line) ? ` ${line}` : line}`))
    .join("\n");
}

/** One word of a POSIX shell command that stands for exactly this text. A NUL, which no word can hold, is dropped. */
export function shellWord(text: string): string {
  return `'${text.replaceAll("\0", "").replaceAll("'", "'\\''")}'`;
}

/** Text for XML content and attribute values in double quotes. */
export function xmlText(text: string): string {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  const allowed = plainLines(text).join("\n");
  return allowed.replace(/[&<>"]/g, (character) => entities[character] as string);
}

function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "?");
}
