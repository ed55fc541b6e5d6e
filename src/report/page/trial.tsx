import { diffLines } from "diff";
import { counted } from "../../support/counted.ts";
import type { ReviewReport, Trial } from "../report-types.ts";
import { Badge, groupsOf, Nothing, Scroll, Section, Table } from "./parts.tsx";

/** Lines of an output that are shown. */
const mostLines = 200;

/** What happened in the virtual machine. */
export function TrialPart({ report }: { readonly report: ReviewReport }) {
  const { trial } = report;
  if (trial === null)
    return (
      <Section id="trial">
        <Nothing>
          The module was not tried. <code>kmend try --report FILE</code> boots this kernel in a virtual machine, loads
          the module and takes it back, and puts what it saw here.
        </Nothing>
      </Section>
    );
  const {
    verdict,
    kernel,
    module,
    transitionMilliseconds,
    probes,
    calls,
    kernelLog,
    failure,
    stalledTasks,
    remarks,
    accelerator,
  } = trial;
  return (
    <Section id="trial">
      <p>
        <Badge kind={verdict === "passed" ? "good" : "bad"}>{verdict}</Badge> {module} on {kernel} in QEMU (
        {accelerator === "kvm" ? "KVM" : "software emulation"}): {failure ?? afterText(trial)}.
      </p>
      <dl class="facts">
        <div>
          <dt>Transition</dt>
          <dd>{transitionMilliseconds === null ? "never ended" : `${(transitionMilliseconds / 1000).toFixed(2)} s`}</dd>
        </div>
        <div>
          <dt>Stalled tasks</dt>
          <dd>{stalledTasks.length === 0 ? "none" : String(stalledTasks.length)}</dd>
        </div>
        <div>
          <dt>Probes</dt>
          <dd>{String(probes.length)}</dd>
        </div>
        {calls !== undefined && (
          <div>
            <dt>Patched functions called</dt>
            <dd>
              {calls.filter((one) => one.calls > 0).length} of {calls.length}
            </dd>
          </div>
        )}
      </dl>
      {probes.map(({ command, before, loaded, after, varies }) => (
        <article class="probe">
          <h3>
            <code>{command}</code>
          </h3>
          {before === loaded ? (
            <p class="quiet">No difference while the patch is active.</p>
          ) : (
            <Difference before={before} after={loaded} label={`${command}: with the patch`} />
          )}
          <p class="quiet">
            {varies === true
              ? "It varies by itself, so the run afterwards proves nothing."
              : before === after
                ? `${trial.staysInMemory ? "After it was reverted" : "After the unload"}: as before.`
                : `${trial.staysInMemory ? "After it was reverted" : "After the unload"} it is not as before:`}
          </p>
          {varies !== true && before !== after && (
            <Difference before={before} after={after} label={`${command}: afterwards`} />
          )}
        </article>
      ))}
      {calls !== undefined && (
        <details>
          <summary>Calls while the patch was active</summary>
          <Table
            caption="Calls of patched functions"
            class="numbers"
            heads={["function", "object", "calls"]}
            rows={calls.map((one) => [<code>{one.name}</code>, one.object, groupsOf(one.calls)])}
          />
        </details>
      )}
      {remarks.length > 0 && (
        <ul>
          {remarks.map((remark) => (
            <li>{remark}</li>
          ))}
        </ul>
      )}
      {stalledTasks.map(({ task, name, stack }) => (
        <>
          <h3>
            Task {task} ({name}) blocked the transition
          </h3>
          <Scroll label={`Stack of task ${task}`}>
            <pre>{stack.length === 0 ? "it was running" : stack.join("\n")}</pre>
          </Scroll>
        </>
      ))}
      {kernelLog.length > 0 && (
        <details open={verdict === "failed"}>
          <summary>{counted(kernelLog.length, "line")} of the kernel log</summary>
          <Scroll label="Kernel log">
            <pre>{kernelLog.join("\n")}</pre>
          </Scroll>
        </details>
      )}
    </Section>
  );
}

function afterText({ staysInMemory }: Trial): string {
  return `loaded, active, reverted${staysInMemory ? "" : ", unloaded"}`;
}

function Difference(props: { readonly before: string; readonly after: string; readonly label: string }) {
  const lines = diffLines(`${props.before}\n`, `${props.after}\n`).flatMap(({ value, added, removed }) =>
    added || removed
      ? value
          .replace(/\n$/, "")
          .split("\n")
          .map((text) => ({ kind: added ? "added" : "removed", text }))
      : [],
  );
  return (
    <Scroll label={props.label} class="source">
      <table class="diff">
        <caption class="hidden">{props.label}</caption>
        <tbody>
          {lines.slice(0, mostLines).map(({ kind, text }) => (
            <tr class={kind}>
              <td class="change">{kind === "added" ? "+" : "−"}</td>
              <td class="text">{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {lines.length > mostLines && <p class="fold">{counted(lines.length - mostLines, "more line")}</p>}
    </Scroll>
  );
}
