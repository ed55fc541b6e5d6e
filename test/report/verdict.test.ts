import { describe, expect, test } from "vitest";
import { type AttentionFacts, attentionOf } from "../../src/report/attention.ts";
import { withTrial } from "../../src/report/collect-build.ts";
import { renderReport } from "../../src/report/page/document.tsx";
import type { ReviewReport } from "../../src/report/report-types.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { sampleReport } from "./sample-report.ts";

const { verdict } = sampleReport;

/** The sample with another verdict. */
function withVerdict(change: Partial<ReviewReport["verdict"]>): ReviewReport {
  return { ...sampleReport, verdict: { ...verdict, trial: "none", refusals: [], ...change } };
}

const facts: AttentionFacts = {
  ...{ signed: true, keptAddresses: 0, allowedLayouts: [], sameCompiler: true },
  ...{ outcome: "proven", file: "intact", refusals: [], warnings: [], trial: "passed", adapted: null },
};

describe("a file of which nothing shows that it is as it was built", () => {
  test.each(["built", "proven"] as const)("is not green when it is %s", (outcome) => {
    const html = renderReport(withVerdict({ outcome, file: "unsealed" }));
    expect(html).toContain('class="verdict warn"');
    expect(html).toContain("Nothing shows whether the file is as it was built");
    expect(renderReport(withVerdict({ outcome }))).toContain('class="verdict good"');
  });

  test("is something to look at", () => {
    expect(attentionOf(facts)).toEqual([]);
    expect(attentionOf({ ...facts, file: "unsealed" })).toMatchObject([{ who: "reviewer", section: "module" }]);
  });
});

test("kept addresses are counted in words", () => {
  const texts = [1, 2].map((keptAddresses) => attentionOf({ ...facts, keptAddresses })[0]?.what);
  expect(texts).toEqual([
    "1 address of the module may be kept: it stays in memory",
    "2 addresses of the module may be kept: it stays in memory",
  ]);
});

test("a signature was attached, and nobody checked it", () => {
  const module = sampleReport.module as NonNullable<ReviewReport["module"]>;
  const html = renderReport({ ...sampleReport, module: { ...module, signed: true } });
  expect(html).toContain('<span class="badge plain">attached, not checked</span>');
});

test("what was not compared is not said to differ", () => {
  const html = renderReport(withVerdict({ outcome: "unchecked", functions: { changed: 1, new: 0, proven: 0 } }));
  expect(html).not.toContain("0 of 1 changed function");
  expect(html).toContain("1 function of the kernel is replaced; none of them was compared");
});

describe("a trial", () => {
  const tried: TryResult = {
    ...{ schema: 1, verdict: "passed", kernel: "6.1.0-9-amd64", module: "livepatch_fix", sha256: "ab".repeat(32) },
    ...{ staysInMemory: false, transitionMilliseconds: 1, probes: [], kernelLog: [], failure: null },
    ...{ stalledTasks: [], remarks: [], accelerator: "tcg", milliseconds: {} },
  };

  test("of this module is shown", () => {
    expect(withTrial(sampleReport, tried).verdict.trial).toBe("passed");
  });

  test("without a digest says so", () => {
    const { sha256: _none, ...older } = tried;
    expect(withTrial(sampleReport, older).trial?.remarks.join()).toContain("does not tell the digest");
  });

  test.each([
    ["another module", { module: "livepatch_other" }],
    ["another kernel", { kernel: "9.9.9" }],
    ["another build", { sha256: "cd".repeat(32) }],
  ])("of %s is refused", (_what, other) => {
    expect(() => withTrial(sampleReport, { ...tried, ...other })).toThrow(
      expect.objectContaining({ code: "TRIAL_OF_OTHER", exitCode: 2 }),
    );
  });

  test("of a patch that was refused is refused", () => {
    const refused = withVerdict({ outcome: "refused", module: null });
    expect(() => withTrial(refused, tried)).toThrow(expect.objectContaining({ code: "TRIAL_OF_OTHER" }));
  });
});
