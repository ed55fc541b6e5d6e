import { prometheusText } from "../prometheus.ts";
import type { Step } from "../step.ts";

/** What a worker has done since it was started, for Prometheus. */
export class WorkerMetrics {
  readonly #ends = new Map<string, number>();
  readonly #milliseconds = new Map<string, number>();
  readonly #started = Date.now();
  done = 0;

  /** Counts a step that has ended. @param end `done`, or the code of the failure. */
  count(kind: Step["kind"], end: string, milliseconds: number): void {
    if (end === "done") this.done++;
    const key = `${kind} ${end}`;
    this.#ends.set(key, (this.#ends.get(key) ?? 0) + 1);
    this.#milliseconds.set(kind, (this.#milliseconds.get(kind) ?? 0) + milliseconds);
  }

  /** In Prometheus' text format. */
  text(): string {
    const ends = [...this.#ends].map(([key, value]) => {
      const [step = "", end = ""] = key.split(" ");
      return { labels: { step, end }, value };
    });
    const seconds = [...this.#milliseconds].map(([step, value]) => ({ labels: { step }, value: value / 1000 }));
    return prometheusText([
      { name: "kmend_worker_steps_total", type: "counter", help: "Steps that ended here, by end.", values: ends },
      { name: "kmend_worker_step_seconds_total", type: "counter", help: "Seconds spent on steps.", values: seconds },
      {
        name: "kmend_worker_start_time_seconds",
        type: "gauge",
        help: "When the worker was started.",
        values: [{ labels: {}, value: Math.floor(this.#started / 1000) }],
      },
    ]);
  }
}
