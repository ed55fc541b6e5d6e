import { hostRefusalTexts } from "../../src/host/kernel/host-refusals.ts";
import { type fillTexts, type RefusalCode, refusalTexts } from "../../src/refusals/refusals.ts";

const head = `# What kmend refuses, and what to do

A live patch replaces functions. What a running kernel already holds — data, lists, code that ran once — cannot be replaced that way, and kmend refuses
such a change instead of guessing (exit code 4). It tells all reasons of a patch at once: what is refused, where it is, why, and what to do.

\`kmend build --json\` has them in \`refusals\`, each with its \`code\` from the list below.

Words in capitals stand for what a message fills in. This page is made from the table in \`src/refusals/refusals.ts\`;
\`npx vitest run --project unit test/tidy -u\` writes it anew.
`;

const hostHead = `# What a host refuses

\`kmend load\`, \`replace\`, \`unload\` and \`install\` look before they change anything. They tell all reasons at once, in \`refusals\` of \`--json\` too,
and the system stays as it is. This part is made from the table in \`src/host/kernel/host-refusals.ts\`.
`;

/** Text of docs/refusals.md. */
export function refusalPage(): string {
  const codes = Object.keys(refusalTexts).sort() as RefusalCode[];
  const hostCodes = Object.keys(hostRefusalTexts).sort() as (keyof typeof hostRefusalTexts)[];
  const hostSections = hostCodes.map((code) => {
    const { exitCode } = hostRefusalTexts[code];
    return `${section(code, hostRefusalTexts[code])}\nExit code ${exitCode}.\n`;
  });
  return [head, ...codes.map((code) => section(code, refusalTexts[code])), hostHead, ...hostSections].join("\n");
}

function section(code: string, { why, hint, option }: Parameters<typeof fillTexts>[1]): string {
  const accepts =
    option === undefined
      ? ""
      : `\n\n\`--${option.name} ${option.value.replace(/\{(\w+)\}/, (_, name: string) => words(name))}\` ${option.effect}.`;
  return `## ${code}\n\n${sentence(why, "the message names the reason")}\n\nWhat to do: ${sentence(hint, "the message says it", false)}${accepts}\n`;
}

/** A row's text with its `{place}`s in capitals; a row that is all filled in by the case gets `otherwise`. */
function sentence(text: string, otherwise: string, capital = true): string {
  const said = /^\{\w+\}$/.test(text) ? otherwise : text.replace(/\{(\w+)\}/g, (_, name: string) => words(name));
  // A command keeps its name.
  const first = capital && !/^[\w-]+\.\w/.test(said) ? said[0]?.toUpperCase() : said[0];
  return `${first}${said.slice(1)}.`;
}

function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter}`).toUpperCase();
}
