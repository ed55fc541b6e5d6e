import type { ReviewReport } from "../report-types.ts";
import { Nothing, Scroll, Section, Table } from "./parts.tsx";

/** How to come to the same module again. */
export function RepeatPart({ report }: { readonly report: ReviewReport }) {
  const { commands, versions, digests } = report.repeat;
  return (
    <Section id="repeat" lead="The same patch, kernel and compiler give the same bytes.">
      {commands.length === 0 ? (
        <Nothing>There is nothing to repeat.</Nothing>
      ) : (
        <Scroll label="Commands">
          <pre>{commands.join("\n")}</pre>
        </Scroll>
      )}
      <Table
        caption="Versions"
        heads={["what", "version"]}
        rows={versions.map(({ what, version }) => [what, <code>{version}</code>])}
      />
      <Table
        caption="Digests"
        heads={["what", "SHA-256"]}
        rows={digests.map(({ what, sha256 }) => [what, <code>{sha256}</code>])}
      />
    </Section>
  );
}
