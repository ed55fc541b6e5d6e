import type { MatrixState } from "./matrix-state.ts";
import { type Metric, prometheusText } from "./prometheus.ts";

/** What a run tells Prometheus: cells by state and code, the queue, seconds by step, and how long the oldest fix of a vulnerability has waited for its package. */
export function matrixMetrics(state: MatrixState, depth: Readonly<Record<string, number>>, now = Date.now()): string {
  const cells = new Map<string, number>();
  const milliseconds = new Map<string, number>();
  for (const cell of state.cells.values()) {
    const key = `${cell.state} ${cell.codes[0] ?? ""}`;
    cells.set(key, (cells.get(key) ?? 0) + 1);
    for (const [step, time] of Object.entries(cell.milliseconds))
      milliseconds.set(step, (milliseconds.get(step) ?? 0) + time);
  }
  const waiting = [...state.packages.values()].filter(
    ({ cves, state: now }) => cves.length > 0 && ["waiting", "held", "failed"].includes(now),
  );
  const oldest = Math.min(...waiting.map(({ since }) => since));
  const metrics: Metric[] = [
    {
      name: "kmend_matrix_cells",
      type: "gauge",
      help: "Cells by state, and by the code of their refusal or failure.",
      values: [...cells].map(([key, value]) => {
        const [name = "", code = ""] = key.split(" ");
        return { labels: { state: name, code }, value };
      }),
    },
    {
      name: "kmend_matrix_queue_depth",
      type: "gauge",
      help: "Steps that wait, are retried later, or are carried out.",
      values: Object.entries(depth).map(([name, value]) => ({ labels: { state: name }, value })),
    },
    {
      name: "kmend_matrix_step_seconds_total",
      type: "counter",
      help: "Seconds spent on steps of cells.",
      values: [...milliseconds].map(([step, value]) => ({ labels: { step }, value: value / 1000 })),
    },
    {
      name: "kmend_matrix_oldest_open_cve_seconds",
      type: "gauge",
      help: "Age of the oldest fix of a vulnerability that is in no package yet; 0 without one.",
      values: [{ labels: {}, value: waiting.length === 0 ? 0 : Math.max(0, Math.round(now / 1000 - oldest)) }],
    },
  ];
  return prometheusText(metrics);
}
