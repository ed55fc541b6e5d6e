/** The two names that a patch gives a file, quotes taken off, strip level not applied; `/dev/null` for a file that is added or deleted. */
export interface NamedFile {
  readonly old: string;
  readonly new: string;
}

/** What of a patch file is a diff. */
export interface ScannedPatch {
  readonly files: readonly NamedFile[];
  /** Those lines alone: what patch(1) is given, which has its own mind about the rest (ed scripts, indented diffs, `Index:` lines). */
  readonly diff: string;
  /** Files that a header of git makes links, devices or sub-repositories, with their modes. */
  readonly special: readonly { readonly name: string; readonly mode: string }[];
}

/** Extended header lines of git-diff(1). */
const extended =
  /^(?:old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to|similarity index|dissimilarity index|index) /;

/**
 * Finds the files of a unified diff: `---` and `+++` lines with a hunk behind them, and renames by git. All other text (the message of a mail, whatever it
 * quotes; the signature; a header of git about a mode alone) is passed over, and the lines of hunks are counted.
 * @throws Error with the line number of a hunk that does not have as many lines as its head says.
 */
export function scanPatch(text: string): ScannedPatch {
  const raw = text.split("\n");
  const lines = raw.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  const files: NamedFile[] = [];
  const special: { name: string; mode: string }[] = [];
  const diff: string[] = [];
  for (let at = 0; at < lines.length; ) {
    const start = at;
    if (lines[at]?.startsWith("diff --git ") === true) at++;
    const isGit = at > start;
    while (isGit && extended.test(lines[at] ?? "")) at++;
    const header = lines.slice(start, at);
    for (const line of header) {
      // patch(1) passes over any number of blanks before a mode.
      const mode = /^(?:(?:old|new|deleted file|new file) mode(\s.*)|index\s+\S+(\s.*))$/s.exec(line);
      const value = (mode?.[1] ?? mode?.[2])?.trim();
      if (value !== undefined && !/^100\d{3}$/.test(value) && !(value === "" && line.startsWith("index")))
        special.push({ name: (header[0] as string).slice(11), mode: value });
    }
    const named = (words: string): string | undefined =>
      header.find((line) => line.startsWith(words))?.slice(words.length);
    const [from, to] = [named("rename from "), named("rename to ")];
    const isRename = from !== undefined && to !== undefined;
    // Such names stand without the a/ and b/ of the other lines.
    if (isRename) files.push({ old: `a/${unquoted(from)}`, new: `b/${unquoted(to)}` });
    if (isFileHead(lines, at)) {
      files.push({ old: unquoted((lines[at] as string).slice(4)), new: unquoted((lines[at + 1] as string).slice(4)) });
      at = skipHunks(lines, at + 2);
    } else if (!isRename) {
      at = Math.max(at, start + 1);
      continue;
    }
    diff.push(...raw.slice(start, at));
  }
  return { files, special, diff: diff.map((line) => `${line}\n`).join("") };
}

function isFileHead(lines: readonly string[], at: number): boolean {
  return (
    lines[at]?.startsWith("--- ") === true &&
    lines[at + 1]?.startsWith("+++ ") === true &&
    hunkHead.test(lines[at + 2] ?? "")
  );
}

const hunkHead = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/;

/** Returns the index of the line behind the last hunk. */
function skipHunks(lines: readonly string[], start: number): number {
  let at = start;
  for (let head = hunkHead.exec(lines[at] ?? ""); head !== null; head = hunkHead.exec(lines[at] ?? "")) {
    const first = at++;
    let old = Number(head[1] ?? 1);
    let fresh = Number(head[2] ?? 1);
    while (old > 0 || fresh > 0) {
      const line = lines[at];
      const sign = line?.[0] ?? " ";
      const isInside = line !== undefined && " -+\\".includes(sign) && (line !== "" || at < lines.length - 1);
      if (!isInside)
        throw new Error(`the hunk of line ${first + 1} ends at line ${at + 1}, earlier than its head says`);
      // Mail programs drop the blank of an empty context line.
      if (sign !== "+" && sign !== "\\") old--;
      if (sign !== "-" && sign !== "\\") fresh--;
      at++;
    }
    if (old < 0 || fresh < 0) throw new Error(`the hunk of line ${first + 1} has other lines than its head says`);
    while (lines[at]?.startsWith("\\") === true) at++;
  }
  return at;
}

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" };

/** Takes off a time behind a tab, and the quotes and escapes that git and diff write around unusual names. */
function unquoted(name: string): string {
  const quoted = /^"((?:\\.|[^"\\])*)"/.exec(name);
  if (quoted === null) return name.replace(/\t.*$/, "");
  const bytes = Buffer.from(quoted[1] as string, "utf8").toString("latin1");
  const plain = bytes.replace(/\\([0-7]{1,3}|.)/g, (_, code: string) =>
    /^[0-7]/.test(code) ? String.fromCharCode(Number.parseInt(code, 8) & 0xff) : (escapes[code] ?? code),
  );
  return Buffer.from(plain, "latin1").toString("utf8");
}
