import { functionName, type Offered, offersOfOperands, offersOfOption, quoted, spellings } from "./completion.ts";
import type { Program } from "./programs.ts";

/** What all programs share; a word of `offers` is one kind, and several are separated by `+`. */
const engine = `# _kmend_add LINES. Here and below no process substitution, which needs /dev/fd.
_kmend_add() {
	local word
	while IFS= read -r word; do
		[ -z "$word" ] || COMPREPLY+=("$word")
	done <<<"$1"
}

# _kmend_files ENDING,...: folders, and files with one of the endings; all files without any.
_kmend_files() {
	local path ending
	compopt -o filenames 2>/dev/null
	while IFS= read -r path; do
		[ -n "$path" ] || continue
		if [ -d "$path" ] || [ -z "$1" ]; then
			COMPREPLY+=("$path")
			continue
		fi
		local IFS=,
		for ending in $1; do
			case $path in *"$ending") COMPREPLY+=("$path") ;; esac
		done
	done <<<"$(compgen -f -- "$2")"
}

_kmend_names() {
	local path
	case $1 in
	installed) for path in /var/lib/kpatch/*/*.ko; do
		[ -e "$path" ] && path=\${path##*/} && echo "\${path%.ko}"
	done ;;
	loaded) for path in /sys/kernel/livepatch/*; do [ -d "$path" ] && echo "\${path##*/}"; done ;;
	updates) for path in /sys/kernel/livepatch/ksplice_*; do [ -d "$path" ] && echo "\${path##*/ksplice_}"; done ;;
	kernels) for path in /lib/modules/* /var/lib/kpatch/*; do [ -d "$path" ] && echo "\${path##*/}"; done ;;
	esac | sort -u
}

# _kmend_offer KINDS WORD
_kmend_offer() {
	local kind IFS=+
	for kind in $1; do
		case $kind in
		files:*) _kmend_files "\${kind#files:}" "$2" ;;
		words:*) _kmend_add "$(IFS=,; compgen -W "\${kind#words:}" -- "$2")" ;;
		*) _kmend_add "$(IFS=$'\\n'; compgen -W "$(_kmend_names "$kind")" -- "$2")" ;;
		esac
	done
}

# _kmend_complete TABLE: TABLE COMMAND sets commands, options, values (FLAG=KINDS ...) and operands.
_kmend_complete() {
	local commands='' options='' values='' operands='' command='' pair index word
	local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
	# bash splits --flag=value at the sign.
	if [ "$current" = = ]; then
		current=''
	elif [ "$previous" = = ]; then
		previous=\${COMP_WORDS[COMP_CWORD-2]}
	fi
	COMPREPLY=()
	"$1" ''
	if [ -n "$commands" ]; then
		for ((index = 1; index < COMP_CWORD; index++)); do
			word=\${COMP_WORDS[index]}
			case $word in -*) continue ;; esac
			command=$word
			break
		done
		[ -z "$command" ] || "$1" "$command"
	fi
	for pair in $values; do
		if [ "\${pair%%=*}" = "$previous" ]; then
			_kmend_offer "\${pair#*=}" "$current"
			return
		fi
	done
	case $current in
	-*) _kmend_add "$(compgen -W "$options" -- "$current")" ;;
	*)
		if [ -n "$commands" ] && [ -z "$command" ]; then
			_kmend_add "$(compgen -W "$commands" -- "$current")"
		else
			_kmend_offer "$operands" "$current"
		fi
		;;
	esac
}
`;

/** The completion of a program and of others that belong to it, for bash 4.0 and later. */
export function bashCompletion(programs: readonly Program[]): string {
  return `# bash completion of ${programs.map(({ name }) => name).join(", ")}; made from kmend's table of commands\n\n${engine}\n${programs.map(ofProgram).join("\n")}`;
}

function ofProgram(program: Program): string {
  const table = `${functionName(program.name)}_table`;
  const rows = [["''", program] as const, ...program.commands.map((command) => [command.name, command] as const)].map(
    ([pattern, { options, commands, ...rest }]) => {
      const lines = [`options=${quoted(options.flatMap(spellings).join(" "))}`];
      if (pattern === "''" && commands.length > 0) {
        const names = commands.map(({ name }) => name);
        lines.push(`commands=${quoted([...names, ...(program.name === "kmend" ? ["help"] : [])].join(" "))}`);
      }
      const values = options.flatMap((option) => {
        const offers = offersOfOption(option);
        return offers === undefined ? [] : spellings(option).map((flag) => `${flag}=${kindsOf(offers)}`);
      });
      lines.push(`values=${quoted(values.join(" "))}`);
      lines.push(`operands=${quoted(kindsOf(offersOfOperands({ options, commands, ...rest })))}`);
      return `\t${pattern})\n${lines.map((line) => `\t\t${line}\n`).join("")}\t\t;;\n`;
    },
  );
  const name = functionName(program.name);
  const helped = program.name === "kmend" ? `\thelp) operands="words:\${commands// /,}" options='' values='' ;;\n` : "";
  const other = "\t*) options='' values='' operands='' ;;\n";
  return `${table}() {\n\tcase $1 in\n${rows.join("")}${helped}${program.commands.length > 0 ? other : ""}\tesac\n}\n${name}() { _kmend_complete ${table}; }\ncomplete -F ${name} ${program.name}\n`;
}

function kindsOf(offers: readonly Offered[]): string {
  const kinds = offers.flatMap((offer): readonly string[] => {
    if ("files" in offer) return offer.files.includes("/") ? ["files:/"] : [`files:${offer.files.join(",")}`];
    if ("words" in offer) return [`words:${offer.words.join(",")}`];
    return "kernels" in offer ? ["kernels"] : offer.names;
  });
  return [...new Set(kinds)].join("+");
}
