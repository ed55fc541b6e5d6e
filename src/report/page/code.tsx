import { counted } from "../../support/counted.ts";
import type { CodeLine, CodeRow, ReportedFunction, ReviewReport } from "../report-types.ts";
import { type Jump, jumpLanes } from "./jump-lanes.ts";
import { addressText, Badge, bytesText, groupsOf, Nothing, Scroll, Section } from "./parts.tsx";
import { type IndexedName, namesOf } from "./symbol-index.ts";

type Names = ReadonlyMap<string, IndexedName>;

/** Equal instructions that stand open beside each difference. */
const neighbours = 3;

/** Rows of all functions together from which on unchanged code, which the page would only hold folded, is left out. */
const mostFoldedRows = 4000;
/** Rows of all functions together from which on only the beginning of a difference is shown. */
const mostOpenRows = 4000;

/** Each changed function: shipped code and patched code beside each other. */
export function FunctionsPart({ report, names }: { readonly report: ReviewReport; readonly names: Names }) {
  const { functions } = report;
  const rows = functions.reduce((sum, { code }) => sum + (code?.rows.length ?? 0), 0);
  const open = functions.reduce((sum, { code }) => sum + (code?.differing ?? 0), 0);
  const limits: Limits = {
    showsEqual: rows <= mostFoldedRows,
    mostOpen:
      open <= mostOpenRows ? Number.POSITIVE_INFINITY : Math.max(8, Math.floor(mostOpenRows / functions.length)),
  };
  const isLong = functions.length > 12;
  const lead =
    functions.length === 0
      ? undefined
      : "Left is the code that the kernel was shipped with, right the code that replaces it. Only what differs is open; line numbers are those of the source before the patch.";
  return (
    <Section id="functions" lead={lead} canOpen={functions.length > 0}>
      {functions.length === 0 && <Nothing>No function is replaced.</Nothing>}
      {!limits.showsEqual && (
        <p class="nothing">
          There are {groupsOf(rows)} instructions: equal ones are left out here. <code>kmend report --json</code> has
          all of them.
        </p>
      )}
      {functions.map((one) => (
        <FunctionView one={one} names={names} limits={limits} isOpen={!isLong} />
      ))}
    </Section>
  );
}

interface Limits {
  readonly showsEqual: boolean;
  readonly mostOpen: number;
}

function FunctionView(props: {
  readonly one: ReportedFunction;
  readonly names: Names;
  readonly limits: Limits;
  readonly isOpen: boolean;
}) {
  const { one, names, limits, isOpen } = props;
  const { id, name, object, unit, sympos, change, proven, reason, bytes, code, inlined, proof } = one;
  const sizes = [
    ...(bytes.shipped === null ? [] : [`${bytesText(bytes.shipped)} before`]),
    ...(bytes.patched === null ? [] : [`${bytesText(bytes.patched)} after`]),
  ].join(", ");
  return (
    <details class="function" id={id} open={isOpen}>
      <summary>
        <h3>
          <code>{name}</code>
        </h3>{" "}
        {change === "new" ? (
          <Badge kind="note">new</Badge>
        ) : (
          <Badge kind={proven === null ? "warn" : proven ? "good" : "bad"}>
            {proven === null ? "not compared" : proven ? "proven" : "not proven"}
          </Badge>
        )}{" "}
        <span class="quiet">
          {object}, {unit}
          {sympos > 0 && `, no. ${sympos} of that name`}
        </span>
      </summary>
      <p>
        {reason === "" ? "" : `Why: ${reason}. `}
        {sizes}.
        {proof !== null && ` In ${object === "vmlinux" ? "the kernel" : object} at ${addressText(proof.address)}.`}
      </p>
      {inlined.length > 0 && (
        <p class="quiet">
          With code of {inlined.slice(0, 12).join(", ")}
          {inlined.length > 12 && ` and ${inlined.length - 12} more functions`}.
        </p>
      )}
      {code === null ? (
        <Nothing>The code cannot be shown beside each other: the kernel's or the module's is not at hand.</Nothing>
      ) : (
        <Listing one={one} rows={code.rows} names={names} limits={limits} />
      )}
    </details>
  );
}

interface Region {
  readonly from: number;
  readonly to: number;
  readonly isOpen: boolean;
}

/** Runs of rows that are open or folded. */
function regionsOf(rows: readonly CodeRow[], isNew: boolean): Region[] {
  const open = new Set<number>();
  for (const [index, { differs }] of rows.entries()) {
    if (differs || isNew) for (let near = index - neighbours; near <= index + neighbours; near++) open.add(near);
  }
  const regions: Region[] = [];
  for (let from = 0; from < rows.length; ) {
    let to = from;
    while (to < rows.length && open.has(to) === open.has(from)) to++;
    regions.push({ from, to, isOpen: open.has(from) });
    from = to;
  }
  return regions;
}

type Side = "shipped" | "patched";

/** Both codes of a function: open where they differ. */
export function Listing(props: {
  readonly one: ReportedFunction;
  readonly rows: readonly CodeRow[];
  readonly names: Names;
  readonly limits: Limits;
  readonly titles?: Readonly<Record<Side, string>>;
}) {
  const { one, rows, names, limits, titles = { shipped: "shipped code", patched: "patched code" } } = props;
  const isNew = one.change === "new";
  const lanes = { shipped: lanesOf(rows, "shipped"), patched: lanesOf(rows, "patched") };
  const sides: readonly Side[] = isNew ? ["patched"] : ["shipped", "patched"];
  const regions = regionsOf(rows, isNew);
  let left = limits.mostOpen;
  return (
    <>
      {regions.map(({ from, to, isOpen }) => {
        const count = to - from;
        const shown = isOpen ? Math.min(count, left) : count;
        if (isOpen) left -= shown;
        const rest = count - shown;
        const table = (
          <Rows
            one={one}
            rows={rows}
            from={from}
            to={from + shown}
            sides={sides}
            names={names}
            lanes={lanes}
            isOpen={isOpen}
            titles={titles}
          />
        );
        if (isOpen)
          return (
            <>
              {shown > 0 && table}
              {rest > 0 && <p class="fold">{counted(rest, "more row")} left out here</p>}
            </>
          );
        if (!limits.showsEqual) return <p class="fold">{counted(count, "equal instruction")}</p>;
        return (
          <details class="equal">
            <summary>{counted(count, "equal instruction")}</summary>
            {table}
          </details>
        );
      })}
    </>
  );
}

interface Margin {
  /** By row. */
  readonly margin: readonly string[];
  /** Places that a branch leads to. */
  readonly targets: ReadonlySet<number>;
}

function lanesOf(rows: readonly CodeRow[], side: Side): Margin {
  const at = new Map(rows.flatMap((row, index) => (row[side] === null ? [] : [[row[side].at, index] as const])));
  const jumps = rows.flatMap((row, from): Jump[] => {
    const to = at.get(row[side]?.jump ?? Number.NaN);
    return to === undefined ? [] : [{ from, to }];
  });
  const targets = new Set(rows.flatMap((row) => row[side]?.jump ?? []));
  return { margin: jumpLanes(rows.length, jumps), targets };
}

function Rows(props: {
  readonly one: ReportedFunction;
  readonly rows: readonly CodeRow[];
  readonly from: number;
  readonly to: number;
  readonly sides: readonly Side[];
  readonly names: Names;
  readonly lanes: Readonly<Record<Side, Margin>>;
  readonly isOpen: boolean;
  readonly titles: Readonly<Record<Side, string>>;
}) {
  const { one, rows, from, to, sides, names, lanes, isOpen, titles } = props;
  const first = rows[from]?.patched ?? rows[from]?.shipped;
  const label = `${one.name}, from ${placeText(first?.at ?? 0)}`;
  return (
    <Scroll label={label} class="listing">
      <table class={`code ${sides.length === 1 ? "single" : ""}`.trim()}>
        <caption class="hidden">{label}</caption>
        <colgroup>
          {sides.map(() => (
            <>
              <col class="at" />
              <col class="lane" />
              <col class="ins" />
            </>
          ))}
        </colgroup>
        <thead class={from === 0 || isOpen ? undefined : "hidden"}>
          <tr>
            {sides.map((side) => (
              <th scope="col" colSpan={3}>
                {titles[side]}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(from, to).map((row, index) => {
            const { source } = row;
            return (
              <>
                {source !== undefined && (
                  <tr class="place">
                    <td colSpan={sides.length * 3}>
                      {source.place}
                      {source.text !== null && <code>{source.text}</code>}
                      {source.added !== null && <code class="plus">+ {source.added}</code>}
                    </td>
                  </tr>
                )}
                <tr class={classOf(row, sides)}>
                  {sides.map((side) => (
                    <Cells
                      id={`${one.id}-${side[0]}`}
                      line={row[side]}
                      lane={lanes[side].margin[from + index] ?? ""}
                      isTarget={lanes[side].targets.has(row[side]?.at ?? Number.NaN)}
                      names={names}
                    />
                  ))}
                </tr>
              </>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

/** What a row is for the eye: `d` differs, `l` and `r` have nothing on that side. The page has many rows, so that words are short. */
function classOf({ differs, shipped, patched }: CodeRow, sides: readonly Side[]): string | undefined {
  if (!differs || sides.length === 1) return undefined;
  return shipped === null ? "d l" : patched === null ? "d r" : "d";
}

function Cells(props: {
  readonly id: string;
  readonly line: CodeLine | null;
  readonly lane: string;
  readonly isTarget: boolean;
  readonly names: Names;
}) {
  const { id, line, lane, isTarget, names } = props;
  return (
    <>
      <td id={line !== null && isTarget ? `${id}${line.at}` : undefined}>{line?.at.toString(16)}</td>
      <td aria-hidden="true">{lane}</td>
      <td>{line !== null && <Instruction id={id} line={line} names={names} />}</td>
    </>
  );
}

/** An instruction: its word, its operands, and what it refers to as links. */
function Instruction({ id, line, names }: { readonly id: string; readonly line: CodeLine; readonly names: Names }) {
  const [, word = "", operands = ""] = /^(\S+)\s*(.*)$/s.exec(line.text) ?? [];
  const inText = namesOf({ text: line.text, names: [] })[0];
  return (
    <>
      <b>{word}</b>{" "}
      {line.jump !== null ? (
        <a href={`#${id}${line.jump}`}>{placeText(line.jump)}</a>
      ) : inText !== undefined ? (
        <Name name={inText} names={names} />
      ) : (
        operands
      )}
      {line.names.map((name) => (
        <>
          {" "}
          <Name name={name} names={names} />
        </>
      ))}
    </>
  );
}

/** A name that leads to what is known of it. */
export function Name({ name, names }: { readonly name: string; readonly names: Names }) {
  const known = names.get(name);
  if (known === undefined) return <span class="n">{name}</span>;
  return (
    <a class="n" href={`#${known.id}`} data-n={known.id}>
      {name}
    </a>
  );
}

function placeText(at: number): string {
  return at < 0 ? `-0x${(-at).toString(16)}` : `+0x${at.toString(16)}`;
}
