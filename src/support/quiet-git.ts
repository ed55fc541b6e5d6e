import { environmentOf } from "./environment.ts";
import { run } from "./run.ts";

/**
 * Settings with which git starts none of the programs that a repository's own configuration can name, whatever is asked of it: a repository may come from
 * somebody else. Names are those of git-config(1).
 */
const settings: Readonly<Record<string, string>> = {
  "core.fsmonitor": "false",
  "core.untrackedCache": "false",
  // Also those of update-ref and status: reference-transaction, post-index-change.
  "core.hooksPath": "/dev/null",
  "core.quotePath": "false",
  // Would call gpg.program.
  "log.showSignature": "false",
  // A partial clone would fetch what it lacks, with the programs of its remote.
  "protocol.allow": "never",
};

/**
 * The environment for git to look at a repository: with {@link settings}, without its filters (the `clean` and `smudge` of gitattributes(5), which status,
 * diff and archive run), without locks and a refreshed index, and without the variables of a hook that may have called kmend.
 */
export async function quietGitEnvironment(tree: string, signal?: AbortSignal): Promise<Record<string, string>> {
  const plain = environmentWith(Object.entries(settings));
  const words = ["-C", tree, "config", "--null", "--name-only", "--get-regexp", "^filter\\."];
  const { stdout } = await run("git", words, { env: plain, cleanEnv: true, allowFailure: true, signal });
  const names = stdout.split("\0").flatMap((key) => /^filter\.(.*)\.[^.]+$/s.exec(key)?.[1] ?? []);
  const filters = [...new Set(names)].flatMap((name): [string, string][] => [
    ...["clean", "smudge", "process"].map((part): [string, string] => [`filter.${name}.${part}`, ""]),
    [`filter.${name}.required`, "false"],
  ]);
  return environmentWith([...Object.entries(settings), ...filters]);
}

function environmentWith(config: readonly (readonly [string, string])[]): Record<string, string> {
  const { PATH = "", HOME = "" } = environmentOf(["PATH", "HOME"]);
  return {
    ...{ PATH, HOME, GIT_OPTIONAL_LOCKS: "0", GIT_NO_REPLACE_OBJECTS: "1", GIT_NO_LAZY_FETCH: "1" },
    ...{ GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_COUNT: String(config.length) },
    ...Object.fromEntries(
      config.flatMap(([key, value], at) => [
        [`GIT_CONFIG_KEY_${at}`, key],
        [`GIT_CONFIG_VALUE_${at}`, value],
      ]),
    ),
  };
}
