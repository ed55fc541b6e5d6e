import { sha256 } from "../../support/cache.ts";
import { htmlPage } from "../../support/html-page.ts";
import { sanitise } from "../../support/sanitise.ts";
import {
  type CellState,
  isEnded,
  type MatrixState,
  type PackageState,
  remainingMilliseconds,
} from "../matrix-state.ts";
import { matrixScript, matrixStyle } from "./style.ts";

/** How a page is shown. */
export interface PageMode {
  /** It is served: it keeps itself current, and cells can be begun again and cancelled. */
  readonly live: boolean;
}

/** File of the page of a cell, below `cells/`. */
export function cellFile(id: string): string {
  return `${sha256(id).slice(0, 16)}.html`;
}

/** The page with the grid of kernels and packages. Texts from outside are escaped by the library that renders them. */
export function gridPage(state: MatrixState, mode: PageMode): string {
  const cells = [...state.cells.values()];
  const codes = [...new Set(cells.flatMap((cell) => cell.codes))].sort();
  return document(
    "kmend matrix",
    mode,
    <main>
      <h1>kmend matrix</h1>
      <form class="filter">
        <label>
          Outcome{" "}
          <select name="state">
            <option value="">all</option>
            {Object.keys(state.counts()).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label>
          Code{" "}
          <select name="code">
            <option value="">all</option>
            {codes.map((code) => (
              <option key={code}>{code}</option>
            ))}
          </select>
        </label>
      </form>
      <div id="live">
        <Counts state={state} />
        <Grid cells={cells} />
        <Packages packages={[...state.packages.values()]} />
      </div>
    </main>,
  );
}

function Counts({ state }: { readonly state: MatrixState }) {
  const counts = Object.entries(state.counts()).filter(([, count]) => count > 0);
  const left = remainingMilliseconds(state);
  return (
    <>
      <ul class="counts">
        {counts.map(([name, count]) => (
          <li key={name} class={name}>{`${count} ${name}`}</li>
        ))}
      </ul>
      <p class="quiet">
        {left === 0 ? "All cells have ended." : `Time left: ${left === null ? "unknown" : spoken(left)}`}
      </p>
    </>
  );
}

function spoken(milliseconds: number): string {
  const minutes = Math.ceil(milliseconds / 60_000);
  return minutes < 120 ? `about ${minutes} min` : `about ${Math.round(minutes / 60)} h`;
}

function Grid({ cells }: { readonly cells: readonly CellState[] }) {
  const packages = [...new Set(cells.map((cell) => cell.package))];
  const kernels = [...new Set(cells.map(({ kernel }) => kernel))];
  const by = new Map(cells.map((cell) => [`${cell.package} ${cell.kernel}`, cell]));
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls has to be reached with the keyboard
    <section class="scroll" tabIndex={0} aria-label="Cells">
      <table>
        <thead>
          <tr>
            <th scope="col">Kernel</th>
            {packages.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {kernels.map((kernel) => (
            <tr key={kernel}>
              <th scope="row">{kernel}</th>
              {packages.map((name) => (
                <GridCell key={name} cell={by.get(`${name} ${kernel}`)} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function GridCell({ cell }: { readonly cell: CellState | undefined }) {
  if (cell === undefined) return <td />;
  const word = cell.state === "running" ? (cell.step ?? "running") : cell.state;
  return (
    <td class={cell.state} data-state={cell.state} data-codes={cell.codes.join(" ")}>
      <a href={`cells/${cellFile(cell.id)}`}>
        {word}
        {cell.codes.length === 0 ? "" : ` ${cell.codes[0]}`}
      </a>
    </td>
  );
}

function Packages({ packages }: { readonly packages: readonly PackageState[] }) {
  return (
    <>
      <h2>Packages</h2>
      <ul>
        {packages.map(({ id, state, file, cves, problem }) => (
          <li key={id}>
            {file === null ? id : <a href={`packages/${file}`}>{file}</a>} <span class={`state ${state}`}>{state}</span>{" "}
            {cves.join(", ")} {problem === null ? "" : `${problem.code}: ${sanitise(problem.message)}`}
          </li>
        ))}
      </ul>
    </>
  );
}

/** The page of one cell: why it is what it is, its log, its report, its package. */
export function cellPage(cell: CellState, owner: PackageState | undefined, mode: PageMode): string {
  const { id, state, patches, module, problem, report, refusals, attempts, key, trial } = cell;
  const rows: readonly (readonly [string, string | null])[] = [
    ["Outcome", state],
    ["Patches", patches.join(", ")],
    ["Module", module === null ? null : `${module.file}, ${module.bytes} bytes, sha256 ${module.sha256}`],
    ["Trial", trial],
    ["Attempts", attempts === 0 ? null : String(attempts)],
    ["Key", key],
  ];
  return document(
    id,
    mode,
    <main>
      <p>
        <a href="../index.html">All cells</a>
      </p>
      <h1>{id}</h1>
      <dl>
        {rows.map(([name, value]) =>
          value === null ? null : (
            <>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </>
          ),
        )}
      </dl>
      <p class="actions">
        {report === null ? null : <a href={`../reports/${report}.html`}>Review report</a>}
        {owner?.file == null ? null : <a href={`../packages/${owner.file}`}>Package</a>}
      </p>
      {mode.live ? <Actions cell={cell} /> : null}
      {refusals.length === 0 ? null : <h2>Why it is refused</h2>}
      {refusals.map(({ code, what, where, why, hint }) => (
        <pre key={`${code} ${what}`}>
          {sanitise(
            [`${code}: ${what}`, where, `why: ${why}`, `hint: ${hint}`].filter((line) => line !== "").join("\n"),
          )}
        </pre>
      ))}
      {problem === null ? null : (
        <>
          <h2>What failed</h2>
          <pre>
            {sanitise(
              [`${problem.code}: ${problem.message}`, problem.why ?? "", problem.hint ?? "", problem.log].join("\n"),
            )}
          </pre>
        </>
      )}
    </main>,
  );
}

function Actions({ cell }: { readonly cell: CellState }) {
  const canRetry = cell.state === "failed" || cell.state === "cancelled";
  const action = canRetry ? "retry" : isEnded(cell) ? undefined : "cancel";
  if (action === undefined) return null;
  return (
    <form class="act actions" method="post" action={`${cellFile(cell.id).replace(".html", "")}/${action}`}>
      <button type="submit">{action === "retry" ? "Begin again" : "Cancel"}</button>
      <output class="quiet" />
    </form>
  );
}

function document(title: string, { live }: PageMode, content: preact.JSX.Element): string {
  return htmlPage(content, {
    ...{ title, style: matrixStyle, script: matrixScript },
    connect: live ? "'self'" : "'none'",
    body: { "data-live": live ? "yes" : "no" },
  });
}
