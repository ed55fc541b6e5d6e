/** Weights of CVSS 3.1, specification section 7.4. Privileges count differently where the scope changes. */
const weights: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  AV: { N: 0.85, A: 0.62, L: 0.55, P: 0.2 },
  AC: { L: 0.77, H: 0.44 },
  UI: { N: 0.85, R: 0.62 },
  C: { H: 0.56, L: 0.22, N: 0 },
  I: { H: 0.56, L: 0.22, N: 0 },
  A: { H: 0.56, L: 0.22, N: 0 },
};
const privileges = { U: { N: 0.85, L: 0.62, H: 0.27 }, C: { N: 0.85, L: 0.68, H: 0.5 } } as const;

/**
 * Base score of a CVSS 3.0 or 3.1 vector, by the equations of its specification, section 7.1.
 * @returns undefined for another version, or a vector that lacks a metric.
 */
export function baseScore(vector: string): number | undefined {
  if (!/^CVSS:3\.[01]\//.test(vector)) return undefined;
  const metrics = new Map(
    vector
      .split("/")
      .slice(1)
      .map((metric) => metric.split(":") as [string, string]),
  );
  const weight = (name: string): number => weights[name]?.[metrics.get(name) ?? ""] ?? Number.NaN;
  const scope = metrics.get("S");
  if (scope !== "U" && scope !== "C") return undefined;
  const table: Readonly<Record<string, number>> = privileges[scope];
  const privilege = table[metrics.get("PR") ?? ""] ?? Number.NaN;
  const lost = 1 - (1 - weight("C")) * (1 - weight("I")) * (1 - weight("A"));
  const impact = scope === "U" ? 6.42 * lost : 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15;
  const exploitability = 8.22 * weight("AV") * weight("AC") * privilege * weight("UI");
  if (Number.isNaN(impact + exploitability)) return undefined;
  if (impact <= 0) return 0;
  return roundUp(Math.min((scope === "U" ? 1 : 1.08) * (impact + exploitability), 10));
}

/** To one decimal, upwards; the integer steps keep binary fractions from adding a tenth (appendix A of the specification). */
function roundUp(value: number): number {
  const steps = Math.round(value * 100_000);
  return steps % 10_000 === 0 ? steps / 100_000 : (Math.floor(steps / 10_000) + 1) / 10;
}

/** Names of the ratings, specification section 5. */
export function severityOf(score: number | null): "critical" | "high" | "medium" | "low" | "none" | "unrated" {
  if (score === null) return "unrated";
  if (score >= 9) return "critical";
  if (score >= 7) return "high";
  if (score >= 4) return "medium";
  return score > 0 ? "low" : "none";
}
