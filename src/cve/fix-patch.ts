import { isOutsideKernel } from "../change/outside-kernel.ts";
import { commitPattern } from "../support/cve-id.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** The patch of one commit of the stable tree. */
export interface FixPatch {
  /** Full object name. */
  readonly commit: string;
  readonly title: string;
  /** Mail with the patch, files outside the kernel left out. */
  readonly content: Buffer;
  /** Files that were left out, since no unit sees them. */
  readonly leftOut: readonly string[];
  /** Files that the patch changes, as they are named after it. */
  readonly files: readonly string[];
}

/**
 * Reads a patch in the mail format of git-format-patch(1), which names its commit.
 * @param from where it was read, for messages.
 * @throws KmendError `FIX_DAMAGED` when it is no such mail, `FIX_OF_OTHER_COMMIT`, `FIX_OUTSIDE` when nothing of it is part of a kernel.
 */
export function readFixPatch(mail: Buffer, commit: string, from: string): FixPatch {
  // Sources are not always UTF-8: each byte stands for itself.
  const text = mail.toString("latin1");
  const named = /^From ([0-9a-f]{40}) /.exec(text)?.[1];
  if (named === undefined) {
    const isPage = /^\s*<(?:!doctype|html|\?xml)/i.test(text);
    throw damaged(
      from,
      isPage ? "a page came in its place, perhaps of a proxy" : "it does not begin with the name of a commit",
    );
  }
  if (named !== commit) {
    throw new KmendError({
      code: "FIX_OF_OTHER_COMMIT",
      message: `this is commit ${named}, not ${commit}`,
      where: from,
      why: "the records name the commit that fixes the vulnerability in this series",
      hint: "check the address template, or give a clone of the stable tree with --git",
    });
  }
  // Each file begins with a line of its own; the last one ends before the signature of the mail.
  const start = text.search(/^diff --git /m);
  if (start < 0) throw damaged(from, "it holds no diff: the commit may be a merge");
  const signature = /\n-- \n[^\n]*\n*$/.exec(text);
  const end = signature === null ? text.length : signature.index + 1;
  const parts = text.slice(start, end).split(/^(?=diff --git )/m);
  if (!parts.every(isOnlyDiff)) {
    // Nothing tells which of them is the commit's.
    throw damaged(
      from,
      "there is text behind or between its diffs: the message of the commit seems to quote a diff",
      `write the diff alone into a file (git show --format= ${commit.slice(0, 12)}), and build it: kmend build --fixes CVE FILE`,
    );
  }
  const named_ = parts.map((part) => ({ part, path: pathOf(part) }));
  const kept = named_.filter(({ path }) => !isOutsideKernel(path));
  if (kept.length === 0) {
    throw new KmendError({
      code: "FIX_OUTSIDE",
      message: "nothing that this commit changes is part of a kernel",
      where: from,
      why: parts.map(pathOf).join(", "),
      hint: "nothing is to be patched in the running kernel",
      exitCode: ExitCode.unchanged,
    });
  }
  return {
    commit,
    title: titleOf(text.slice(0, start)),
    content: Buffer.from(`${text.slice(0, start)}${kept.map(({ part }) => part).join("")}`, "latin1"),
    leftOut: named_.filter(({ path }) => isOutsideKernel(path)).map(({ path }) => path),
    files: kept.map(({ path }) => path),
  };
}

const headerLine =
  /^(?:diff --git |index |(?:old|new|deleted file|new file) mode |(?:dis)?similarity index |rename |copy |--- |\+\+\+ |Binary files )/;

/** True for the diff of one file with nothing behind it: headers, and hunks with as many lines as they say. */
function isOnlyDiff(part: string): boolean {
  const lines = part.replace(/\n+$/, "").split("\n");
  let at = 0;
  while (at < lines.length && headerLine.test(lines[at] as string)) at++;
  // What a binary patch holds is refused where it is applied.
  if (lines[at] === "GIT binary patch") return true;
  while (at < lines.length) {
    const hunk = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(lines[at++] as string);
    if (hunk === null) return false;
    let [before, after] = [Number(hunk[1] ?? 1), Number(hunk[2] ?? 1)];
    for (; before > 0 || after > 0; at++) {
      const sign = lines[at]?.[0];
      if (sign === undefined && at >= lines.length) return false;
      if (sign === "+") after--;
      else if (sign === "-") before--;
      else if (sign === " " || sign === undefined) [before, after] = [before - 1, after - 1];
      else if (sign !== "\\") return false;
    }
    if (before < 0 || after < 0) return false;
    while (lines[at]?.startsWith("\\ ") === true) at++;
  }
  return true;
}

/** The name that a file has after the patch, or had before it was deleted. */
function pathOf(part: string): string {
  const after = /^\+\+\+ b\/(.*?)\t?$/m.exec(part)?.[1] ?? /^rename to (.*)$/m.exec(part)?.[1];
  if (after !== undefined) return after;
  return /^--- a\/(.*?)\t?$/m.exec(part)?.[1] ?? /^diff --git a\/(.*) b\/\1$/m.exec(part)?.[1] ?? "";
}

/** The subject of the mail without its mark, lines that were folded joined again. */
function titleOf(head: string): string {
  const subject = /^Subject: (.*(?:\n[ \t].*)*)/m.exec(head)?.[1] ?? "";
  return Buffer.from(subject.replace(/\n[ \t]+/g, " ").replace(/^\[[^\]]*\] /, ""), "latin1").toString("utf8");
}

function damaged(
  from: string,
  why: string,
  hint = "open the address in a browser to see what is there, or give a clone of the stable tree with --git",
): KmendError {
  return new KmendError({
    code: "FIX_DAMAGED",
    message: "this is not the patch of a commit",
    where: from,
    why,
    hint,
  });
}

/** @throws KmendError `USAGE` for what is no full object name of a commit. */
export function requireCommitName(name: string): string {
  if (commitPattern.test(name)) return name;
  throw new KmendError({
    code: "USAGE",
    message: `${JSON.stringify(name)} is not the full name of a commit`,
    why: "a short name can mean another commit in another repository",
    hint: "give all 40 digits, as git rev-parse prints them",
    exitCode: ExitCode.usage,
  });
}
