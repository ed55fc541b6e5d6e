import { counted } from "../../support/counted.ts";
import type { Before, ReportedFunction, ReviewReport } from "../report-types.ts";
import { Badge, Nothing, Section, Table } from "./parts.tsx";

/** Locks, data and calls of each changed function, before and after. */
export function StatePart({ report }: { readonly report: ReviewReport }) {
  const shown = report.functions.filter(({ state }) => state !== null && all(state).length > 0);
  const isLong = shown.length > 12;
  // Of many functions, those whose uses change are worth the room.
  const listed = shown.length > 60 ? shown.filter((one) => changesOf(one) > 0) : shown;
  return (
    <Section
      id="state"
      canOpen={shown.length > 0}
      lead="What the code takes and releases, and the variables that it reads or writes by their names, before and after. While the patch is applied, tasks run the old and the new code side by side."
    >
      {shown.length === 0 && <Nothing>No changed function uses a lock or a variable by its name.</Nothing>}
      {listed.length < shown.length && (
        <p class="nothing">
          {counted(shown.length - listed.length, "function")} the same before and after: left out here.
        </p>
      )}
      {listed.map((one) => (
        <StateView one={one} isOpen={!isLong && changesOf(one) > 0} />
      ))}
    </Section>
  );
}

function all(state: NonNullable<ReportedFunction["state"]>): Before[] {
  return [...state.locks, ...state.data, ...state.calls];
}

function changesOf({ state }: ReportedFunction): number {
  return state === null ? 0 : all(state).filter(({ before, after }) => before !== after).length;
}

function StateView({ one, isOpen }: { readonly one: ReportedFunction; readonly isOpen: boolean }) {
  const { name, state } = one;
  if (state === null) return null;
  const changes = changesOf(one);
  const rows = (kind: string, uses: readonly Before[]) =>
    uses.map(({ what, before, after }) => [
      kind,
      <code>{what}</code>,
      before ? "yes" : "no",
      after ? "yes" : "no",
      before === after ? "same" : <Badge kind={after ? "good" : "bad"}>{after ? "comes" : "goes"}</Badge>,
    ]);
  return (
    <details open={isOpen}>
      <summary>
        <h3>
          <code>{name}</code>
        </h3>{" "}
        {changes === 0 ? <span class="quiet">same before and after</span> : <Badge kind="warn">{changes} differ</Badge>}
      </summary>
      <Table
        caption={`Locks, data and calls of ${name}`}
        heads={["kind", "what", "before", "after", "difference"]}
        rows={[...rows("lock", state.locks), ...rows("data", state.data), ...rows("call", state.calls)]}
      />
    </details>
  );
}
