import type { ComponentChildren } from "preact";
import type { SectionId } from "../report-types.ts";

/** Titles of the parts of the page. */
export const sectionTitles: Readonly<Record<SectionId, string>> = {
  verdict: "Verdict",
  patch: "Source patch",
  functions: "Changed functions",
  proof: "Proof",
  graph: "Callers and reach",
  types: "Types",
  state: "Locks and data",
  module: "Patch module",
  trial: "Trial",
  repeat: "Repeat it",
};

/** One part of the page, with its heading and what it says in a sentence. */
export function Section(props: {
  readonly id: SectionId;
  readonly lead?: ComponentChildren;
  readonly canOpen?: boolean;
  readonly children: ComponentChildren;
}) {
  const { id, lead, canOpen, children } = props;
  return (
    <section id={id} aria-labelledby={`${id}-title`}>
      <header class="head">
        <h2 id={`${id}-title`}>{sectionTitles[id]}</h2>
        {canOpen === true && (
          <button type="button" data-open={id} hidden aria-expanded="false">
            open or close all
          </button>
        )}
      </header>
      {lead !== undefined && <p class="lead">{lead}</p>}
      {children}
    </section>
  );
}

/** A wide thing in a frame of its own, which the keyboard can move. */
export function Scroll(props: {
  readonly label: string;
  readonly children: ComponentChildren;
  readonly class?: string;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what can be moved sideways has to be reached by keyboard (WCAG 2.1.1)
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for the controls of a form
    <div class={`scroll ${props.class ?? ""}`.trim()} role="group" aria-label={props.label} tabIndex={0}>
      {props.children}
    </div>
  );
}

/** Words in a coloured frame; the words say what the colour does. */
export function Badge(props: {
  readonly kind: "good" | "bad" | "warn" | "note" | "plain";
  readonly children: ComponentChildren;
}) {
  return <span class={`badge ${props.kind}`}>{props.children}</span>;
}

/** A table with a caption for screen readers, and heads of columns. */
export function Table(props: {
  readonly caption: string;
  readonly heads: readonly string[];
  readonly class?: string;
  readonly rows: readonly (readonly ComponentChildren[])[];
}) {
  return (
    <Scroll label={props.caption}>
      <table class={props.class}>
        <caption class="hidden">{props.caption}</caption>
        <thead>
          <tr>
            {props.heads.map((head) => (
              <th scope="col">{head}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((cells) => (
            <tr>
              {cells.map((cell) => (
                <td>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Said where a part has nothing to show. */
export function Nothing(props: { readonly children: ComponentChildren }) {
  return <p class="nothing">{props.children}</p>;
}

/** `1 byte`, `2,048 bytes`. */
export function bytesText(bytes: number): string {
  return `${groupsOf(bytes)} ${bytes === 1 ? "byte" : "bytes"}`;
}

/** A number with its groups of three digits, which is the same wherever the page is made. */
export function groupsOf(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** In a module that is not loaded, an address is the number of a section × 2^36 + an offset in it. */
export function addressText(address: string): string {
  const [value, bits] = [BigInt(/^0x[0-9a-f]{1,16}$/.test(address) ? address : "0x0"), 36n];
  const section = value >> bits;
  if (value === 0n || section === 0n || section > 0xffffn) return address;
  return `section ${section} + 0x${(value & ((1n << bits) - 1n)).toString(16)}`;
}
