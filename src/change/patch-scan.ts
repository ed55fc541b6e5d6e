/** The two names that a patch gives a file, quotes taken off, strip level not applied; `/dev/null` for a file that is added or deleted. */
export interface NamedFile {
  readonly old: string;
  readonly new: string;
}

/**
 * Finds the files of a unified diff as patch(1) does: `---` and `+++` lines with a hunk behind them, and renames by git. All other text (the message
 * of a mail, whatever it quotes; the signature) is passed over, and the lines of hunks are counted.
 * @throws Error with the line number of a hunk that does not have as many lines as its head says.
 */
export function scanPatch(text: string): NamedFile[] {
  const lines = text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  const files: NamedFile[] = [];
  let renamedFrom: string | undefined;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    if (line.startsWith("rename from ")) renamedFrom = unquoted(line.slice(12));
    else if (line.startsWith("rename to ") && renamedFrom !== undefined) {
      // Such names stand without the a/ and b/ of the other lines.
      files.push({ old: `a/${renamedFrom}`, new: `b/${unquoted(line.slice(10))}` });
      renamedFrom = undefined;
    } else if (isFileHead(lines, at)) {
      files.push({ old: unquoted(line.slice(4)), new: unquoted((lines[at + 1] as string).slice(4)) });
      at = skipHunks(lines, at + 2) - 1;
    }
  }
  return files;
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
