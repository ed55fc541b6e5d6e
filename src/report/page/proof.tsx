import { counted } from "../../support/counted.ts";
import type { ReportedFunction, ReviewReport } from "../report-types.ts";
import { Name } from "./code.tsx";
import { addressText, Badge, bytesText, groupsOf, Nothing, Section, Table } from "./parts.tsx";
import { confirmations, type IndexedName } from "./symbol-index.ts";

type Names = ReadonlyMap<string, IndexedName>;

/** Masked places of all functions together from which on the page shows no more than their number. */
const mostPlaces = 2500;

const compared =
  "The unpatched source, compiled here, was held against the file that the kernel boots from. Each byte is the same, but for the masked places that a linker fills: there, what the kernel holds was read and has to be what the source means.";
const heldAgain =
  "The module says which code of the kernel it was proven against. That was looked at again: the bytes of each function that it replaces, what they refer to, what tables say about them, and the place of each symbol.";
const notHeld = "Nothing of the module was held against a kernel here; the verdict says why.";

/** What was compared with the kernel, and what every masked place held. */
export function ProofPart({ report, names }: { readonly report: ReviewReport; readonly names: Names }) {
  const { functions, units, subject, verdict } = report;
  const isModule = subject.kind !== "patch" && units.length === 0;
  const proven = functions.filter(({ proof }) => proof !== null);
  const places = proven.reduce((sum, { proof }) => sum + (proof?.masked.length ?? 0), 0);
  return (
    <Section
      id="proof"
      canOpen={proven.length > 0}
      lead={isModule ? (verdict.outcome === "unchecked" ? notHeld : heldAgain) : compared}
    >
      {proven.length === 0 && !isModule && <Nothing>No function was held against the kernel here.</Nothing>}
      {isModule && <HeldAgain report={report} />}
      {units.length > 0 && (
        <Table
          caption="Units that the patch touches"
          heads={["unit", "object", "functions that are the kernel's own"]}
          rows={units.map(({ path, object, matched, functions: count }) => [
            <code>{path}</code>,
            object,
            `${groupsOf(matched)} of ${groupsOf(count)}`,
          ])}
        />
      )}
      {proven.length > 0 && (
        <Table
          caption="What was compared of each function"
          heads={[
            "function",
            "bytes compared",
            "bytes masked",
            "masked places",
            "entries of tables",
            "constants and data",
          ]}
          class="numbers"
          rows={proven.map((one) => summaryOf(one))}
        />
      )}
      {places > mostPlaces ? (
        <p class="nothing">
          There are {groupsOf(places)} masked places: <code>kmend report --json</code> has each of them.
        </p>
      ) : (
        proven.map((one) => <Places one={one} names={names} />)
      )}
      {names.size > 0 && (
        <details>
          <summary>{counted(names.size, "name")} that the code refers to</summary>
          <Table
            caption="Names that the code refers to"
            heads={["name", "object", "address in the kernel", "how it is known", "used by"]}
            rows={[...names.values()].map(({ id, name, objects, addresses, proofs, usedBy }) => [
              <code id={id} data-n={id}>
                {name}
              </code>,
              objects.join(", "),
              <code>{addresses.map(addressText).join(" ")}</code>,
              proofs.length === 0 ? "the module's own, or made for it by the loader" : proofs.join("; "),
              usedBy.slice(0, 6).join(", ") + (usedBy.length > 6 ? ` and ${usedBy.length - 6} more` : ""),
            ])}
          />
        </details>
      )}
    </Section>
  );
}

/** A finished module against its kernel. */
function HeldAgain({ report }: { readonly report: ReviewReport }) {
  const { functions, symbols, verdict } = report;
  if (verdict.outcome === "unchecked")
    return (
      <Nothing>It was not held against its kernel, which was not found here: see the remarks of the verdict.</Nothing>
    );
  return (
    <>
      <Table
        caption="Functions that the module replaces"
        heads={["function", "object", "bytes", "found"]}
        rows={functions.map(({ id, name, object, bytes, proven, reason }) => [
          <a href={`#${id}`}>
            <code>{name}</code>
          </a>,
          object,
          bytes.shipped === null ? "" : groupsOf(bytes.shipped),
          proven ? <Badge kind="good">as it was proven</Badge> : reason || "not looked at",
        ])}
      />
      {symbols.length > 0 && (
        <Table
          caption="Symbols that the module reaches"
          heads={["symbol", "object", "position", "found"]}
          rows={symbols.map(({ name, object, sympos, proof }) => [
            <code>{name}</code>,
            object,
            sympos === 0 ? "the only one" : String(sympos),
            proof,
          ])}
        />
      )}
    </>
  );
}

/** Bytes of a function that were compared, and those that are masked. */
export function comparedBytes({ proof }: Pick<ReportedFunction, "proof">): {
  readonly compared: number;
  readonly masked: number;
} {
  const masked = (proof?.masked ?? []).reduce((sum, { width }) => sum + width, 0);
  return { compared: (proof?.bytes ?? 0) - masked, masked };
}

function summaryOf(one: ReportedFunction) {
  const { compared, masked } = comparedBytes(one);
  const entries = (one.proof?.tables ?? []).map(({ table, entries: count }) => `${table} ${count}`);
  const content = one.proof?.content ?? [];
  const bytes = content.reduce((sum, each) => sum + each.bytes, 0);
  return [
    <a href={`#${one.id}`}>
      <code>{one.name}</code>
    </a>,
    <>
      {groupsOf(compared)}
      {one.proof?.method === "instructions" && " (by instruction)"}
    </>,
    groupsOf(masked),
    groupsOf(one.proof?.masked.length ?? 0),
    entries.length === 0 ? "none" : entries.join(", "),
    content.length === 0 ? "none" : `${content.length}, ${bytesText(bytes)}`,
  ];
}

function Places({ one, names }: { readonly one: ReportedFunction; readonly names: Names }) {
  const masked = one.proof?.masked ?? [];
  if (masked.length === 0) return null;
  return (
    <details>
      <summary>
        <code>{one.name}</code>: {counted(masked.length, "masked place")}
      </summary>
      <Table
        caption={`Masked places of ${one.name}`}
        heads={["at", "bytes", "means", "address read there", "confirmed"]}
        rows={masked.map(({ offset, width, symbol, address, confirmed }) => [
          <code>+0x{offset.toString(16)}</code>,
          String(width),
          <Name name={symbol} names={names} />,
          <code>{address === null ? "" : addressText(address)}</code>,
          <>
            <Badge kind="good">{confirmed}</Badge> {confirmations[confirmed]}
          </>,
        ])}
      />
    </details>
  );
}
