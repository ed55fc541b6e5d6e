import { counted } from "../../support/counted.ts";
import type { ReviewReport, TouchedType, TypeMember, TypeRow } from "../report-types.ts";
import { Badge, bytesText, Nothing, Scroll, Section } from "./parts.tsx";

/** Types that the patch touches, as the running kernel has them and as the new code sees them. */
export function TypesPart({ report }: { readonly report: ReviewReport }) {
  const { types } = report;
  return (
    <Section
      id="types"
      canOpen={types.length > 0}
      lead="Structures of which the changed lines use members, or which the patch defines anew: left as the running kernel has them (its BTF), right as the new code was compiled with them."
    >
      {types.length === 0 && <Nothing>The changed lines use no member of a structure whose type is known.</Nothing>}
      {types.map((type) => (
        <TypeView type={type} />
      ))}
    </Section>
  );
}

function TypeView({ type }: { readonly type: TouchedType }) {
  const { name, object, size, isChanged, rows } = type;
  const used = rows.filter(({ isUsed }) => isUsed).length;
  const sides = [size.shipped, size.patched].map((bytes) => (bytes === null ? "not there" : bytesText(bytes)));
  const summary = sides[0] === sides[1] ? sides[0] : `${sides[0]} before, ${sides[1]} after`;
  return (
    <details open={rows.length <= 40}>
      <summary>
        <h3>
          <code>{name}</code>
        </h3>{" "}
        <Badge kind={isChanged ? "warn" : "good"}>{isChanged ? "layouts differ" : "same layout"}</Badge>{" "}
        <span class="quiet">
          {object}, {summary}, {counted(used, "member")} used
        </span>
      </summary>
      <Scroll label={`Layouts of ${name}`}>
        <table class="layout">
          <caption class="hidden">Layouts of {name}</caption>
          <thead>
            <tr>
              <th scope="col">at</th>
              <th scope="col">bytes</th>
              <th scope="col">running kernel</th>
              <th scope="col">at</th>
              <th scope="col">bytes</th>
              <th scope="col">new code</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr class={classOf(row)}>
                <Member member={row.shipped} isUsed={row.isUsed} />
                <Member member={row.patched} isUsed={row.isUsed} />
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </details>
  );
}

function classOf({ differs, isUsed, shipped, patched }: TypeRow): string | undefined {
  const isHole = (shipped ?? patched)?.text === null;
  return differs ? "differs" : isUsed ? "used" : isHole ? "hole" : undefined;
}

function Member({ member, isUsed }: { readonly member: TypeMember | null; readonly isUsed: boolean }) {
  if (member === null)
    return (
      <>
        <td />
        <td />
        <td class="none" />
      </>
    );
  return (
    <>
      <td class="no">{member.at}</td>
      <td class="no">{member.size}</td>
      <td>
        {member.text === null ? <em>hole</em> : <code>{member.text}</code>} {isUsed && <Badge kind="note">used</Badge>}
      </td>
    </>
  );
}
