import { counted } from "../../support/counted.ts";
import type { Attention, ReviewReport, Verdict } from "../report-types.ts";
import { Badge, bytesText, Nothing, Section, sectionTitles } from "./parts.tsx";

interface Words {
  readonly word: string;
  readonly kind: "good" | "bad" | "warn";
  readonly sign: string;
}

/** The verdict in a word. */
export function verdictWords({ outcome, functions, trial, file }: Verdict): Words {
  const isProven = functions.proven === functions.changed;
  if (trial === "failed") return { word: "Failed its trial", kind: "bad", sign: "✗" };
  if (file === "unsealed" && (outcome === "built" || outcome === "proven") && isProven)
    return { word: "Fits the kernel; the file is not vouched for", kind: "warn", sign: "?" };
  switch (outcome) {
    case "built":
      return isProven
        ? { word: trial === "passed" ? "Built, proven and tried" : "Built and proven", kind: "good", sign: "✓" }
        : { word: "Not proven", kind: "bad", sign: "✗" };
    case "proven":
      return { word: "Proven again", kind: "good", sign: "✓" };
    case "refused":
      return { word: "Refused", kind: "bad", sign: "✗" };
    case "failed":
      return { word: "Does not fit the kernel", kind: "bad", sign: "✗" };
    case "unchanged":
      return { word: "Changes nothing", kind: "warn", sign: "–" };
    case "unchecked":
      return { word: "Not held against its kernel", kind: "warn", sign: "?" };
  }
}

const roles: Readonly<Record<Attention["who"], string>> = {
  author: "The author of the patch",
  reviewer: "The reviewer",
  operator: "Whoever loads the module",
};

/** What a reviewer reads first. */
export function VerdictPart({ report }: { readonly report: ReviewReport }) {
  const { verdict, subject } = report;
  const { kernel, module, functions, refusals, warnings, notes, attention, adapted, cves } = verdict;
  const { word, kind, sign } = verdictWords(verdict);
  const total = functions.changed + functions.new;
  return (
    <Section id="verdict">
      <div class={`verdict ${kind}`}>
        <span class="sign" aria-hidden="true">
          {sign}
        </span>
        <div>
          <p class="word">{word}</p>
          <p class="of">
            {refusals.length > 0 && `${counted(refusals.length, "reason")} against it, and no module was made. `}
            {verdict.outcome === "unchecked" &&
              total > 0 &&
              `${counted(functions.changed, "function")} of the kernel ${functions.changed === 1 ? "is" : "are"} replaced; none of them was compared with it. `}
            {verdict.file === "unsealed" && "Nothing shows whether the file is as it was built. "}
            {functions.changed > 0 && verdict.outcome !== "unchecked" && (
              <>
                <strong>
                  {functions.proven} of {counted(functions.changed, "changed function")}
                </strong>{" "}
                {functions.changed === 1 ? "is" : "are"} the kernel's own code, byte for byte, before the change
                {functions.new > 0 ? `; ${functions.new} ${functions.new === 1 ? "is" : "are"} new` : ""}.
              </>
            )}
            {functions.changed === 0 && total === 0 && "No function of this kernel is replaced."}
            {functions.changed === 0 && total > 0 && `${counted(functions.new, "function")} new.`}
          </p>
        </div>
      </div>
      <dl class="facts">
        <Fact name={subject.kind === "patch" ? "Source patch" : subject.kind === "module" ? "Module file" : "Update"}>
          {subject.files.join(", ")}
        </Fact>
        <Fact name="Kernel">{kernel.release}</Fact>
        <Fact name="Build id" isCode>
          {kernel.buildId === "" ? "none" : kernel.buildId}
        </Fact>
        {module !== null && (
          <>
            <Fact name="Module">
              {module.name}, {bytesText(module.bytes)}
            </Fact>
            <Fact name="SHA-256" isCode>
              {module.sha256}
            </Fact>
          </>
        )}
        <Fact name="Fixes">{cves.length === 0 ? "no vulnerability is named" : cves.join(", ")}</Fact>
        <Fact name="Trial">
          {verdict.trial === "passed" && <Badge kind="good">passed</Badge>}
          {verdict.trial === "failed" && <Badge kind="bad">failed</Badge>}
          {verdict.trial === "none" && (module === null ? "there is no module to try" : "not tried")}
        </Fact>
      </dl>
      {refusals.length > 0 && (
        <>
          <h3>{counted(refusals.length, "reason")} why this cannot be live patched</h3>
          <ul class="cards">
            {refusals.map(({ code, what, where, why, hint }) => (
              <li class="card bad">
                <p>
                  <Badge kind="bad">{code}</Badge> <code>{what}</code>
                  {where !== "" && where !== what && <span class="quiet"> in {where}</span>}
                </p>
                <Advice why={why} hint={hint} />
              </li>
            ))}
          </ul>
        </>
      )}
      <h3>Who must look at what</h3>
      {attention.length === 0 ? (
        <Nothing>Nothing here asks for a decision by a person.</Nothing>
      ) : (
        <ul class="attention">
          {(["author", "reviewer", "operator"] as const)
            .filter((who) => attention.some((each) => each.who === who))
            .map((who) => (
              <li>
                <h4>{roles[who]}</h4>
                <ul>
                  {attention
                    .filter((each) => each.who === who)
                    .map(({ what, section }) => (
                      <li>
                        {what} <a href={`#${section}`}>({sectionTitles[section]})</a>
                      </li>
                    ))}
                </ul>
              </li>
            ))}
        </ul>
      )}
      {adapted !== null && (
        <>
          <h3>Rewritten so that it can be live</h3>
          <ul>
            {adapted.parts.map((part) => (
              <li>{part}</li>
            ))}
          </ul>
        </>
      )}
      {warnings.length > 0 && (
        <>
          <h3>{counted(warnings.length, "warning")}</h3>
          <ul class="cards">
            {warnings.map(({ code, function: name, unit, place, why, hint }) => (
              <li class="card warn">
                <p>
                  <Badge kind="warn">{code}</Badge> <code>{name}</code> <span class="quiet">in {place ?? unit}</span>
                </p>
                <Advice why={why} hint={hint} />
              </li>
            ))}
          </ul>
        </>
      )}
      {notes.length > 0 && (
        <details>
          <summary>{counted(notes.length, "remark")} of the build</summary>
          <ul>
            {notes.map((note) => (
              <li class="lines">{note}</li>
            ))}
          </ul>
        </details>
      )}
    </Section>
  );
}

/** Why something is so, and what to do about it. */
function Advice({ why, hint }: { readonly why: string; readonly hint: string }) {
  return (
    <>
      <p>{why}.</p>
      <p class="hint">
        <strong>What to do:</strong> {hint}.
      </p>
    </>
  );
}

function Fact(props: {
  readonly name: string;
  readonly isCode?: boolean;
  readonly children: preact.ComponentChildren;
}) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd class={props.isCode === true ? "code" : undefined}>{props.children}</dd>
    </div>
  );
}
