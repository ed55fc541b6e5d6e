import { htmlPage } from "../../support/html-page.ts";
import { type ReviewReport, sectionIds } from "../report-types.ts";
import { FunctionsPart } from "./code.tsx";
import { GraphPart } from "./graph.tsx";
import { ModulePart } from "./module.tsx";
import { sectionTitles } from "./parts.tsx";
import { PatchPart } from "./patch.tsx";
import { ProofPart } from "./proof.tsx";
import { RepeatPart } from "./repeat.tsx";
import { pageScript } from "./script.ts";
import { StatePart } from "./state.tsx";
import { pageStyle } from "./style.ts";
import { symbolIndex } from "./symbol-index.ts";
import { TrialPart } from "./trial.tsx";
import { TypesPart } from "./types.tsx";
import { VerdictPart, verdictWords } from "./verdict.tsx";
import { visibleTexts } from "./visible.ts";

/**
 * The review page: one HTML file that needs nothing else. Texts from outside are escaped by the library that renders them, and what cannot be seen of them is
 * made visible before. Its policy allows its own style and script by their digests, and nothing else. The same report gives the same bytes.
 */
export function renderReport(report: ReviewReport): string {
  return pageOf(<Page report={visibleTexts(report)} />, titleOf(visibleTexts(report)));
}

/** A whole page of some content. @param title of the window. */
export function pageOf(content: preact.JSX.Element, title: string): string {
  return htmlPage(content, { title, style: pageStyle, script: pageScript });
}

function titleOf({ subject, verdict }: ReviewReport): string {
  return `${verdictWords(verdict).word}: ${subject.files.join(", ")} for ${verdict.kernel.release}`;
}

function Page({ report }: { readonly report: ReviewReport }) {
  const { subject, verdict } = report;
  const names = symbolIndex(report);
  const counts: Partial<Record<(typeof sectionIds)[number], number>> = {
    patch: report.files.length,
    functions: report.functions.length,
    types: report.types.length,
  };
  return (
    <>
      <a class="skip" href="#main">
        Skip to the report
      </a>
      <header class="top">
        <p>kmend review report</p>
        <h1>{subject.files.join(", ")}</h1>
        <p>for Linux {verdict.kernel.release}</p>
      </header>
      <div class="frame">
        <nav aria-label="Parts of the report">
          <ol>
            {sectionIds.map((id) => (
              <li>
                <a href={`#${id}`}>
                  {sectionTitles[id]} {counts[id] !== undefined && <span class="count">{String(counts[id])}</span>}
                </a>
              </li>
            ))}
          </ol>
        </nav>
        <main id="main" tabIndex={-1}>
          <VerdictPart report={report} />
          <PatchPart report={report} />
          <FunctionsPart report={report} names={names} />
          <ProofPart report={report} names={names} />
          <GraphPart report={report} />
          <TypesPart report={report} />
          <StatePart report={report} />
          <ModulePart report={report} />
          <TrialPart report={report} />
          <RepeatPart report={report} />
        </main>
      </div>
      <footer>
        Made by kmend from what the build compared. The page needs no network, and the same input gives the same page.
      </footer>
    </>
  );
}
