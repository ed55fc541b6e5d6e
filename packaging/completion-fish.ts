import type { OptionDefinition } from "../src/cli/command.ts";
import { type Offered, offersOfOperands, offersOfOption } from "./completion.ts";
import { flagsOf, type Program } from "./programs.ts";

/** The functions are those of kmend, whichever of the programs is completed first. */
const engine = `function __kmend_command --description 'the command that was typed'
    for word in (commandline -opc)[2..]
        switch $word
            case '-*'
            case '*'
                echo $word
                return
        end
    end
    return 1
end

function __kmend_command_is --argument-names wanted
    set -l typed (__kmend_command)
    test "$typed" = $wanted
end

function __kmend_names --argument-names kind
    switch $kind
        case installed
            for path in /var/lib/kpatch/*/*.ko
                string replace -r '.*/(.*)\\.ko$' '$1' -- $path
            end
        case loaded
            for path in /sys/kernel/livepatch/*/
                string replace -r '.*/([^/]+)/$' '$1' -- $path
            end
        case updates
            for path in /sys/kernel/livepatch/ksplice_*/
                string replace -r '.*/ksplice_([^/]+)/$' '$1' -- $path
            end
        case kernels
            for path in /lib/modules/*/ /var/lib/kpatch/*/
                string replace -r '.*/([^/]+)/$' '$1' -- $path
            end
    end
end

function __kmend_files
    for ending in $argv
        __fish_complete_suffix $ending
    end
end
`;

/** The completion of one program, for fish 3.0 and later. */
export function fishCompletion(program: Program): string {
  const { name } = program;
  const lines = [`complete -c ${name} -f`];
  const none = "not __kmend_command";
  for (const { name: command, summary } of program.commands) lines.push(row(name, none, `-a ${command}`, summary));
  if (name === "kmend") {
    lines.push(row(name, none, "-a help", "show the help of a command"));
    for (const { name: command, summary } of program.commands)
      lines.push(row(name, is("help"), `-a ${command}`, summary));
  }
  lines.push(...ofCommand(name, program.commands.length > 0 ? none : undefined, program));
  for (const command of program.commands) lines.push(...ofCommand(name, is(command.name), command));
  return `# fish completion of ${name}; made from kmend's table of commands\n\n${engine}\n${lines.join("\n")}\n`;
}

function is(command: string): string {
  return `__kmend_command_is ${command}`;
}

function ofCommand(name: string, condition: string | undefined, program: Program): string[] {
  const lines = program.options.map((option) => row(name, condition, optionWords(option), option.description));
  const [operand] = program.arguments;
  if (operand === undefined) return lines;
  const offers = offersOfOperands(program);
  if (offers.some((offer) => "files" in offer && offer.files.length === 0)) {
    return [...lines, row(name, condition, "-F", operand.description)];
  }
  return [...lines, ...words(offers).map((text) => row(name, condition, `-a ${quoted(text)}`, undefined))];
}

function optionWords(option: OptionDefinition): string {
  const { short, long, value } = flagsOf(option);
  // A short flag that is no letter, such as -?, would be read as a pattern.
  const flags = [...(short === undefined ? [] : [`-s ${quoted(short.slice(1))}`]), `-l ${long.slice(2)}`];
  if (value === undefined) return flags.join(" ");
  const offers = offersOfOption(option) ?? [];
  const anyFile = offers.some((offer) => "files" in offer && offer.files.length === 0);
  const offered = words(offers);
  const given = offered.length === 0 ? [] : [`-a ${quoted(offered.join(" "))}`];
  return [...flags, "-r", anyFile ? "-F" : "-f", ...given].join(" ");
}

function words(offers: readonly Offered[]): string[] {
  return offers.flatMap((offer) => {
    if ("words" in offer) return offer.words;
    if ("kernels" in offer) return ["(__kmend_names kernels)"];
    if ("names" in offer) return offer.names.map((kind) => `(__kmend_names ${kind})`);
    if (offer.files.length === 0) return [];
    return [offer.files.includes("/") ? "(__fish_complete_directories)" : `(__kmend_files ${offer.files.join(" ")})`];
  });
}

function row(name: string, condition: string | undefined, words: string, description: string | undefined): string {
  const parts = [`complete -c ${name}`];
  if (condition !== undefined) parts.push(`-n ${quoted(condition)}`);
  parts.push(words);
  if (description !== undefined) parts.push(`-d ${quoted(description)}`);
  return parts.join(" ");
}

/** A text in single quotes for fish, where a backslash escapes quote and backslash. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
