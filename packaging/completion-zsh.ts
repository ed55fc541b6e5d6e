import { functionName, type Offered, offersOfOperands, offersOfOption, quoted, spellings } from "./completion.ts";
import { flagsOf, type Program } from "./programs.ts";

const engine = `_kmend_names() {
  local -a names
  case $1 in
  installed) names=(/var/lib/kpatch/*/*.ko(N:t:r)) ;;
  loaded) names=(/sys/kernel/livepatch/*(N/:t)) ;;
  updates) names=(/sys/kernel/livepatch/ksplice_*(N/:t)); names=(\${names#ksplice_}) ;;
  kernels) names=(/lib/modules/*(N/:t) /var/lib/kpatch/*(N/:t)) ;;
  esac
  compadd -a names
}
`;

/** The completion of a program and of others that belong to it, for zsh's completion system. */
export function zshCompletion(programs: readonly Program[]): string {
  const names = programs.map(({ name }) => name);
  const cases = programs.map(({ name }) => `${name}) ${functionName(name)}_words ;;`);
  return `#compdef ${names.join(" ")}
# made from kmend's table of commands

${engine}
${programs.map(ofProgram).join("\n")}
case $service in
${cases.join("\n")}
esac
`;
}

function ofProgram(program: Program): string {
  const name = `${functionName(program.name)}_words`;
  if (program.commands.length === 0) return `${name}() {\n  _arguments -s -S ${specs(program).join(" \\\n    ")}\n}\n`;
  const described = program.commands.map(({ name: command, summary }) => {
    return quoted(`${command}:${summary}`);
  });
  if (program.name === "kmend") described.push(quoted("help:show the help of a command"));
  const cases = program.commands.map((command) => {
    return `    ${command.name})\n      _arguments -s -S ${specs(command).join(" \\\n        ")}\n      ;;\n`;
  });
  const helped = program.name === "kmend" ? "    help) _describe command commands ;;\n" : "";
  return `${name}() {
  local curcontext=$curcontext state line
  local -a commands
  commands=(
    ${described.join("\n    ")}
  )
  _arguments -C ${[...specs({ ...program, arguments: [] }), "'1:command:->command'", "'*::argument:->argument'"].join(" \\\n    ")}
  case $state in
  command) _describe command commands ;;
  argument)
    case $words[1] in
${cases.join("")}${helped}    esac
    ;;
  esac
}
`;
}

/** What _arguments wants to know of a command. */
function specs(program: Program): string[] {
  const specs = program.options.map((option) => {
    const { long, value } = flagsOf(option);
    const flags = spellings(option);
    const offers = offersOfOption(option);
    const ending = offers === undefined ? "" : `:${plain(value ?? "")}:${action(offers)}`;
    const text = `[${plain(option.description).replace(/[[\]]/g, "\\$&")}]${ending}`;
    const several = option.repeatable === true || option.counted === true;
    // With a value, --flag=VALUE and --flag VALUE; -fVALUE and -f VALUE.
    const spelled = flags.map((flag) => (value === undefined ? flag : flag === long ? `${flag}=` : `${flag}+`));
    const excluded = several || flags.length === 1 ? (several ? "*" : "") : `(${flags.join(" ")})`;
    if (spelled.length === 1) return quoted(`${excluded}${spelled[0]}${text}`);
    return several
      ? `\\*{${spelled.join(",")}}${quoted(text)}`
      : `${quoted(excluded)}{${spelled.join(",")}}${quoted(text)}`;
  });
  const [operand] = program.arguments;
  if (operand !== undefined) specs.push(quoted(`*:${plain(operand.name)}:${action(offersOfOperands(program))}`));
  return specs;
}

/** A message in a specification, where a colon would end it. */
function plain(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll(":", "\\:");
}

function action(offers: readonly Offered[]): string {
  const actions = offers.flatMap((offer) => {
    if ("files" in offer) return [files(offer.files)];
    if ("words" in offer) return [`compadd ${offer.words.join(" ")}`];
    return ("kernels" in offer ? ["kernels"] : offer.names).map((name) => `_kmend_names ${name}`);
  });
  const all = [...new Set(actions)];
  if (all.length === 0) return " ";
  // A leading space keeps zsh from adding options of its own to what is run.
  return all.length === 1 ? ` ${all[0]}` : `{ ${all.join("; ")} }`;
}

function files(endings: readonly string[]): string {
  if (endings.length === 0) return "_files";
  if (endings.includes("/")) return "_files -/";
  return `_files -g "*(${endings.join("|")})"`;
}
