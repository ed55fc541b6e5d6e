import type { Program } from "./programs.ts";

/** What all manual pages of one making say. */
export interface Edition {
  readonly version: string;
  /** Seconds since 1970. */
  readonly epoch: number;
}

/** A page of the manual. */
export interface ManualPage {
  /** `kmend-build.1` */
  readonly file: string;
  readonly text: string;
}

/** Longest line of a page's source; mandoc's style check wants at most 80. */
const lineLength = 78;

const sections = [
  {
    title: "ENVIRONMENT",
    rows: {
      KMEND_CACHE: "folder of the cache (default: ~/.cache/kmend)",
      SOURCE_DATE_EPOCH: "time that packages carry, in seconds since 1970",
      KBUILD_SIGN_PIN: "passphrase or PIN of the key that signs modules",
      NO_COLOR: "when set, no colours",
    },
  },
  {
    title: "FILES",
    rows: {
      "/var/lib/kpatch/RELEASE": "installed patch modules of a kernel",
      "/sys/kernel/livepatch": "the kernel's view of loaded patch modules",
    },
  },
] as const;

/**
 * The manual pages of a program: its own, and one for each command of kmend.
 * @param section of the manual.
 */
export function manualPages(program: Program, section: number, edition: Edition): readonly ManualPage[] {
  const own = page(program, program.name, section, edition, undefined);
  if (program.name !== "kmend") return [own];
  const commands = program.commands.map((command) => {
    return page(command, `kmend-${command.name}`, section, edition, "kmend");
  });
  return [own, ...commands];
}

function page(
  program: Program,
  name: string,
  section: number,
  { version, epoch }: Edition,
  parent: string | undefined,
): ManualPage {
  const date = new Date(epoch * 1000).toISOString().slice(0, 10);
  const call = parent === undefined ? program.name : `${parent} ${program.name}`;
  const lines = [
    `.TH ${roff(name.toUpperCase())} ${section} ${date} "kmend ${roff(version)}" "kmend manual"`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(program.summary)}`,
    ".SH SYNOPSIS",
    `.B ${roff(call)}`,
    ...(program.commands.length > 0 ? [".I COMMAND", ".RI [ options ]"] : [".RI [ options ]"]),
    ...program.arguments.map(({ name: word }) => synopsisOf(word)),
    ".SH DESCRIPTION",
    ...paragraph(program.description),
    ...program.arguments.flatMap(({ name: word, description }) => {
      return [".TP", `.I ${roff(word.replace(/^\[|\]$/g, ""))}`, ...paragraph(description)];
    }),
  ];
  if (program.commands.length > 0) lines.push(".SH COMMANDS");
  for (const command of program.commands) {
    lines.push(".TP", heading(command), ...paragraph(command.summary));
    if (program.name === "kmend") lines.push(`See \\fBkmend\\-${roff(command.name)}\\fR(${section}).`);
    for (const option of command.options) {
      if (program.name !== "kmend")
        lines.push(".RS", ".TP", flagsText(option.flags), ...paragraph(option.description), ".RE");
    }
  }
  if (program.options.length > 0) lines.push(".SH OPTIONS");
  for (const { flags, description } of program.options) lines.push(".TP", flagsText(flags), ...paragraph(description));
  const codes = Object.entries(program.exitCodes);
  if (codes.length > 0) lines.push(".SH EXIT STATUS");
  for (const [code, meaning] of codes) lines.push(".TP", `.B ${code}`, ...paragraph(meaning ?? ""));
  if (program.name === "kmend") {
    for (const { title, rows } of sections) {
      lines.push(`.SH ${title}`);
      for (const [word, meaning] of Object.entries(rows)) lines.push(".TP", `.B ${roff(word)}`, ...paragraph(meaning));
    }
  }
  if (program.examples.length > 0) lines.push(".SH EXAMPLES");
  for (const { command, description } of program.examples) {
    lines.push(".TP", `.B ${roff(command)}`, ...paragraph(description));
  }
  lines.push(".SH SEE ALSO", ...seeAlso(program, section, parent));
  return { file: `${name}.${section}`, text: `${lines.join("\n")}\n` };
}

function seeAlso(program: Program, section: number, parent: string | undefined): string[] {
  const pages =
    parent === undefined && program.name === "kmend" ? program.commands.map(({ name }) => `kmend-${name}`) : ["kmend"];
  return pages.map(
    (name, index) => `.BR ${roff(name)} (${name === "kmend" ? 1 : section})${index < pages.length - 1 ? "," : ""}`,
  );
}

/** `PATCH...` as it stands in the synopsis; brackets are not part of the word. */
function synopsisOf(word: string): string {
  return word.startsWith("[") ? `.RI [ ${roff(word.slice(1, -1))} ]` : `.I ${roff(word)}`;
}

function heading({ name, arguments: words }: Program): string {
  const operands = words.map(({ name: word }) => `\\fI${roff(word)}\\fR`);
  return [`\\fB${roff(name)}\\fR`, ...operands].join(" ");
}

/** `-o, --output <DIR>` with bold flags and the value in italics. */
function flagsText(flags: string): string {
  return flags
    .split(" ")
    .map((word) => {
      const value = /^<(.*)>$/.exec(word)?.[1];
      if (value !== undefined) return `\\fI${roff(value)}\\fR`;
      return word.endsWith(",") ? `\\fB${roff(word.slice(0, -1))}\\fR,` : `\\fB${roff(word)}\\fR`;
    })
    .join(" ");
}

/** Running text: each sentence begins a line, as roff wants it to tell sentences from abbreviations; words in backticks become bold. */
function paragraph(text: string): string[] {
  return text.split(/(?<=[.!?]) (?=[A-Z])/).flatMap(wrap);
}

function wrap(sentence: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of roff(sentence)
    .replace(/`([^`]+)`/g, "\\fB$1\\fR")
    .split(" ")) {
    if (line !== "" && line.length + 1 + word.length > lineLength) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  // A line that begins with one of these would be a request.
  return [...lines, line].map((text) => (/^[.']/.test(text) ? `\\&${text}` : text));
}

/** Text for roff: backslashes, and hyphens that are to stay the ASCII ones that can be copied into a shell. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("~", "\\(ti").replaceAll("^", "\\(ha");
}
