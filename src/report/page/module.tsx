import { counted } from "../../support/counted.ts";
import type { ReviewReport } from "../report-types.ts";
import { Badge, bytesText, groupsOf, Nothing, Section, Table } from "./parts.tsx";

const whenOf: Readonly<Record<string, string>> = {
  pre_patch: "before the transition to the patch",
  post_patch: "after the transition to the patch",
  pre_unpatch: "before the transition back",
  post_unpatch: "after the transition back",
};

/** What the module consists of, and what is left of it. */
export function ModulePart({ report }: { readonly report: ReviewReport }) {
  const { module } = report;
  if (module === null)
    return (
      <Section id="module">
        <Nothing>No module was made.</Nothing>
      </Section>
    );
  const {
    sections,
    memory,
    relocations,
    imports,
    tables,
    modinfo,
    callbacks,
    signed,
    replacesAll,
    afterUnload,
    keptAddresses,
  } = module;
  const loaded = sections.filter(({ isLoaded }) => isLoaded);
  return (
    <Section id="module" canOpen>
      <dl class="facts">
        <div>
          <dt>Memory while loaded</dt>
          <dd>{bytesText(memory)}</dd>
        </div>
        <div>
          <dt>Signature</dt>
          <dd>
            <Badge kind={signed ? "plain" : "warn"}>{signed ? "attached, not checked" : "none"}</Badge>
          </dd>
        </div>
        <div>
          <dt>Kind</dt>
          <dd>
            {replacesAll === null && "not known"}
            {replacesAll === true && "cumulative: replaces all loaded patch modules"}
            {replacesAll === false && "stacked: leaves the loaded ones active"}
          </dd>
        </div>
        <div>
          <dt>Left after unload</dt>
          <dd>{afterUnload}.</dd>
        </div>
      </dl>
      {keptAddresses.length > 0 && (
        <ul>
          {keptAddresses.map((why) => (
            <li>{why}</li>
          ))}
        </ul>
      )}
      {callbacks.length > 0 && (
        <>
          <h3>Callbacks of the livepatch core</h3>
          <Table
            caption="Callbacks"
            heads={["when", "object", "function"]}
            rows={callbacks.map((one) => [whenOf[one.kind] ?? one.kind, one.object, <code>{one.function}</code>])}
          />
        </>
      )}
      <h3>Livepatch relocations</h3>
      {relocations.length === 0 ? (
        <Nothing>None: the new code reaches exported symbols only.</Nothing>
      ) : (
        <Table
          caption="Livepatch relocations by object"
          heads={["object", "in section", "places", "symbols (name,position)"]}
          rows={relocations.map(({ object, section, count, symbols }) => [
            object,
            <code>{section}</code>,
            groupsOf(count),
            <code>
              {symbols.slice(0, 40).join(" ") + (symbols.length > 40 ? ` and ${symbols.length - 40} more` : "")}
            </code>,
          ])}
        />
      )}
      {tables.length > 0 && (
        <>
          <h3>Tables about the code</h3>
          <Table
            caption="Special tables"
            heads={["table", "an entry is", "bytes"]}
            class="numbers"
            rows={tables.map(({ name, noun, bytes }) => [<code>{name}</code>, noun, groupsOf(bytes)])}
          />
        </>
      )}
      <details>
        <summary>
          {counted(sections.length, "section")}, {loaded.length} of them loaded
        </summary>
        <Table
          caption="Sections"
          heads={["section", "kind", "bytes", "in memory"]}
          rows={sections.map(({ name, kind, bytes, isLoaded }) => [
            <code>{name}</code>,
            kind,
            groupsOf(bytes),
            isLoaded ? "yes" : "no",
          ])}
        />
      </details>
      <details>
        <summary>{counted(imports.length, "symbol")} that the module loader resolves</summary>
        <p class="lines">
          <code>{imports.join(" ")}</code>
        </p>
      </details>
      <details>
        <summary>modinfo</summary>
        <Table
          caption="modinfo"
          heads={["key", "value"]}
          rows={modinfo.map(({ key, value }) => [<code>{key}</code>, <code>{value}</code>])}
        />
      </details>
    </Section>
  );
}
