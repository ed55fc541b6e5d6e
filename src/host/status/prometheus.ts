import type { HostStatus } from "./status.ts";

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** The state of a host as metrics in Prometheus' text format 0.0.4, for the textfile collector of its node exporter. */
export function prometheusText(status: HostStatus): string {
  const { loaded, installed, transition } = status;
  const here = installed.filter(({ release }) => release === status.kernel);
  const families = [
    family("kmend_livepatch_supported", "Whether the running kernel has live patching.", [one(status.livepatch)]),
    family(
      "kmend_patch_enabled",
      "Whether a loaded live patch is active or being enabled.",
      loaded.map(({ name, state }) => ({ labels: { name, state }, value: state.startsWith("enabl") ? 1 : 0 })),
    ),
    family(
      "kmend_patch_functions",
      "Functions of a loaded live patch by what runs in their place.",
      loaded.flatMap(({ name, functions }) =>
        (["patched", "covered", "waiting", "off"] as const).map((state) => ({
          labels: { name, state },
          value: functions.filter((entry) => entry.state === state).length,
        })),
      ),
    ),
    family(
      "kmend_patch_since_seconds",
      "When a loaded live patch was enabled, in seconds since 1970.",
      loaded.flatMap(({ name, since }) =>
        since === null ? [] : [{ labels: { name }, value: Date.parse(since) / 1000 }],
      ),
    ),
    family("kmend_transition_running", "Whether a transition is running.", [one(transition !== null)]),
    family("kmend_transition_pending_tasks", "Tasks that the running transition waits for.", [
      { labels: {}, value: transition?.pending ?? 0 },
    ]),
    family(
      "kmend_installed_in_force",
      "Whether a module that is installed for the running kernel is active, itself or through a later one.",
      here.map(({ name, state }) => ({
        labels: { name, state },
        value: state === "in force" || state === "covered" ? 1 : 0,
      })),
    ),
  ];
  return families.join("");
}

function one(value: boolean): Sample {
  return { labels: {}, value: value ? 1 : 0 };
}

function family(name: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(({ labels, value }) => `${name}${labelText(labels)} ${value}`);
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.map((line) => `${line}\n`).join("")}`;
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
