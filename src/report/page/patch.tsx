import { counted } from "../../support/counted.ts";
import type { Fate, Hunk, ReviewReport, SourceChange } from "../report-types.ts";
import { highlightLines, type Token } from "./highlight.ts";
import { Badge, Nothing, Scroll, Section } from "./parts.tsx";

const fateWords: Readonly<
  Record<Fate["kind"], { readonly word: string; readonly kind: "good" | "bad" | "warn" | "note" | "plain" }>
> = {
  edited: { word: "replaced", kind: "good" },
  new: { word: "new", kind: "good" },
  inlined: { word: "inlined", kind: "note" },
  carried: { word: "carried", kind: "good" },
  lines: { word: "lines only", kind: "plain" },
  "left-out": { word: "left out", kind: "warn" },
  unknown: { word: "not told apart", kind: "warn" },
  unchanged: { word: "no code", kind: "plain" },
  refused: { word: "refused", kind: "bad" },
};

/** Of a patch that was refused nothing is in force. */
const wouldBe: Partial<Record<Fate["kind"], string>> = {
  edited: "would be replaced",
  new: "would be new",
  inlined: "would be inlined",
  carried: "would be carried",
};

/** Hunks from which on those of a file are folded. */
const mostOpenHunks = 60;

/** The source patch, with what became of each hunk. */
export function PatchPart({ report }: { readonly report: ReviewReport }) {
  const { files, subject, verdict } = report;
  const isLong = files.reduce((sum, { hunks }) => sum + hunks.length, 0) > mostOpenHunks;
  const isRefused = verdict.outcome === "refused";
  return (
    <Section id="patch" lead="Each part of the change, and what became of it in this kernel.">
      {files.length === 0 && (
        <Nothing>
          {subject.kind === "module"
            ? "A patch module does not carry its source patch: its digest is below, under Repeat it."
            : "No source file of this kernel changes."}
        </Nothing>
      )}
      {files.map((file) => (
        <File file={file} isRefused={isRefused} isFolded={isLong} />
      ))}
    </Section>
  );
}

function File(props: { readonly file: SourceChange; readonly isRefused: boolean; readonly isFolded: boolean }) {
  const { file, isRefused, isFolded } = props;
  const { path, kind, hunks, fates } = file;
  const shown = hunks.map((hunk) => <HunkView hunk={hunk} path={path} isRefused={isRefused} />);
  return (
    <article class="file">
      <h3>
        <code>{path}</code> {kind !== "modified" && <Badge kind="note">{kind}</Badge>}
      </h3>
      <Fates fates={fates} isRefused={isRefused} />
      {isFolded ? (
        <details>
          <summary>{counted(hunks.length, "hunk")}</summary>
          {shown}
        </details>
      ) : (
        shown
      )}
    </article>
  );
}

function Fates({ fates, isRefused }: { readonly fates: readonly Fate[]; readonly isRefused: boolean }) {
  if (fates.length === 0) return null;
  return (
    <ul class="fates">
      {fates.map(({ kind, text, functions }) => (
        <li>
          {isRefused && wouldBe[kind] !== undefined ? (
            <Badge kind="plain">{wouldBe[kind]}</Badge>
          ) : (
            <Badge kind={fateWords[kind].kind}>{fateWords[kind].word}</Badge>
          )}{" "}
          {text}
          {functions.map(({ id, name }) =>
            id === null ? null : (
              <>
                {" "}
                <a href={`#${id}`}>code of {name}</a>
              </>
            ),
          )}
        </li>
      ))}
    </ul>
  );
}

function HunkView({
  hunk,
  path,
  isRefused,
}: {
  readonly hunk: Hunk;
  readonly path: string;
  readonly isRefused: boolean;
}) {
  const { oldStart, newStart, lines, fates } = hunk;
  const isCode = /\.[chS]$/.test(path);
  const tokens = isCode ? tokensOf(lines) : lines.map(({ text }) => [{ kind: "", text }]);
  const changed = lines.filter(({ kind }) => kind !== "context").length;
  return (
    <div class="hunk">
      <Fates fates={fates} isRefused={isRefused} />
      <Scroll label={`${path}, line ${newStart}: ${counted(changed, "changed line")}`} class="source">
        <table class="diff">
          <caption class="hidden">
            {path}, from line {oldStart} before and {newStart} after
          </caption>
          <thead class="hidden">
            <tr>
              <th scope="col">line before</th>
              <th scope="col">line after</th>
              <th scope="col">change</th>
              <th scope="col">source</th>
            </tr>
          </thead>
          <tbody>
            {lines.map(({ kind, old, new: fresh, refused }, index) => (
              <>
                <tr class={kind}>
                  <td class="no">{old}</td>
                  <td class="no">{fresh}</td>
                  <td class="change">{kind === "added" ? "+" : kind === "removed" ? "−" : ""}</td>
                  <td class="text">
                    <Tokens tokens={tokens[index] ?? []} />
                  </td>
                </tr>
                {refused.map((text) => (
                  <tr class="refusal">
                    <td colSpan={3} />
                    <td>
                      <Badge kind="bad">refused</Badge> {text}
                    </td>
                  </tr>
                ))}
              </>
            ))}
          </tbody>
        </table>
      </Scroll>
    </div>
  );
}

function Tokens({ tokens }: { readonly tokens: readonly Token[] }) {
  return <>{tokens.map(({ kind, text }) => (kind === "" ? text : <span class={`hl-${kind}`}>{text}</span>))}</>;
}

/** Both sides are read as they stand in the file, so that comments over several lines are seen as such. */
function tokensOf(lines: Hunk["lines"]): (readonly Token[])[] {
  const side = (hidden: "added" | "removed"): (readonly Token[] | undefined)[] => {
    const shown = lines.filter(({ kind }) => kind !== hidden);
    const tokens = highlightLines(shown.map(({ text }) => text));
    return lines.map((line) => (line.kind === hidden ? undefined : tokens[shown.indexOf(line)]));
  };
  const [before, after] = [side("added"), side("removed")];
  return lines.map((line, index) => (line.kind === "removed" ? before[index] : after[index]) ?? []);
}
