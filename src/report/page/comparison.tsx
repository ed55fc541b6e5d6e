import { counted } from "../../support/counted.ts";
import type { ComparedFunction, ComparedModule, ModuleComparison } from "../compare-modules.ts";
import { isDescription } from "../module-contents.ts";
import type { Before, ReportedFunction } from "../report-types.ts";
import { Listing } from "./code.tsx";
import { pageOf } from "./document.tsx";
import { Badge, bytesText, groupsOf, Nothing, Table } from "./parts.tsx";
import { visibleTexts } from "./visible.ts";

/** The page of two modules beside each other; it is made as that of a report. */
export function renderComparison(comparison: ModuleComparison): string {
  const shown = visibleTexts(comparison);
  return pageOf(<Page comparison={shown} />, `${shown.old.file} and ${shown.new.file} compared`);
}

const kinds: Readonly<
  Record<ComparedFunction["kind"], { readonly word: string; readonly kind: "good" | "bad" | "warn" | "plain" }>
> = {
  added: { word: "added", kind: "good" },
  changed: { word: "changed", kind: "warn" },
  dropped: { word: "dropped", kind: "bad" },
  same: { word: "same code", kind: "plain" },
};

/** A variable or constant has no code. */
const dataWords = { ...kinds, same: { word: "same content", kind: "plain" } } as const;

const order: readonly ComparedFunction["kind"][] = ["dropped", "changed", "added", "same"];

function Page({ comparison }: { readonly comparison: ModuleComparison }) {
  const {
    old,
    new: fresh,
    functions,
    data,
    patches,
    cves,
    callbacks,
    modinfo,
    symbols,
    sections,
    remarks,
    sameKernel,
  } = comparison;
  const count = (kind: ComparedFunction["kind"]): number =>
    [...functions, ...data].filter((one) => one.kind === kind).length;
  const sorted = [...functions].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  const sortedData = [...data].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  const changed = functions.filter(({ code }) => code !== null);
  const isCalm = sameKernel === true && remarks.length === 0 && count("dropped") === 0;
  const described = sections.filter(({ name }) => isDescription(name)).length;
  return (
    <>
      <a class="skip" href="#main">
        Skip to the comparison
      </a>
      <header class="top">
        <p>kmend review report: two modules</p>
        <h1>
          {old.file} → {fresh.file}
        </h1>
      </header>
      <div class="frame">
        <nav aria-label="Parts of the comparison">
          <ol>
            {Object.entries(parts).map(([id, title]) => (
              <li>
                <a href={`#${id}`}>{title}</a>
              </li>
            ))}
          </ol>
        </nav>
        <main id="main" tabIndex={-1}>
          <Part id="summary">
            <div class={`verdict ${sameKernel === false ? "bad" : isCalm ? "good" : "warn"}`}>
              <div>
                <p class="word">
                  {count("added")} added, {count("changed")} changed, {count("dropped")} dropped, {count("same")} the
                  same
                </p>
                <p class="of">
                  Functions, variables and constants.{" "}
                  {sameKernel === null && `Both are for ${fresh.kernel.release}; which builds of it is not known.`}
                  {sameKernel === true && `Both are for ${fresh.kernel.release}.`}
                  {sameKernel === false && old.kernel.release !== fresh.kernel.release
                    ? `${old.kernel.release} and ${fresh.kernel.release} are different kernels.`
                    : sameKernel === false && `They are for different builds of ${fresh.kernel.release}.`}{" "}
                  {sections.length === 0
                    ? "No loaded section differs."
                    : `${counted(sections.length, "loaded section")} ${sections.length === 1 ? "differs" : "differ"} in content, ${described} of them with what a module says of itself.`}
                </p>
              </div>
            </div>
            {remarks.length > 0 && (
              <ul>
                {remarks.map((remark) => (
                  <li>{remark}</li>
                ))}
              </ul>
            )}
            <Table caption="The two modules" heads={["what", "old", "new"]} class="pair" rows={rowsOf(old, fresh)} />
          </Part>
          <Part id="functions">
            <Table
              caption="Functions"
              heads={["function", "object", "unit", "role", "what"]}
              rows={sorted.map(({ name, object, sympos, unit, role, kind }) => [
                <code>{labelOf(name, sympos)}</code>,
                object,
                unit,
                role === "replaces" ? "replaces the kernel's" : "brought by the module",
                <Badge kind={kinds[kind].kind}>{kinds[kind].word}</Badge>,
              ])}
            />
            {changed.map((one, index) => (
              <details class="function" open={changed.length <= 12}>
                <summary>
                  <h3>
                    <code>{labelOf(one.name, one.sympos)}</code>
                  </h3>{" "}
                  <span class="quiet">{differenceOf(one)}</span>
                </summary>
                <Listing
                  one={asFunction(one, index)}
                  rows={one.code?.rows ?? []}
                  names={new Map()}
                  limits={everything}
                  titles={titles}
                />
              </details>
            ))}
          </Part>
          <Part id="contents">
            <h3>Variables and constants</h3>
            {data.length === 0 ? (
              <Nothing>None in either module.</Nothing>
            ) : (
              <Table
                caption="Variables and constants"
                heads={["name", "kind", "section", "what"]}
                rows={sortedData.map(({ name, what, section, kind }) => [
                  <code>{name}</code>,
                  what,
                  <code>{section}</code>,
                  <Badge kind={dataWords[kind].kind}>{dataWords[kind].word}</Badge>,
                ])}
              />
            )}
            <Uses title="Source patches" uses={patches} />
            <Uses title="Vulnerabilities" uses={cves} />
            <Uses title="Callbacks of the livepatch core" uses={callbacks} />
            <Uses title="What the modules say of themselves (modinfo)" uses={modinfo} />
            <Uses title="Symbols of the kernel that are reached" uses={symbols} />
            <h3>Loaded sections whose content differs</h3>
            {sections.length === 0 ? (
              <Nothing>None.</Nothing>
            ) : (
              <Table
                caption="Loaded sections whose content differs"
                heads={["section", "bytes before", "bytes after"]}
                class="numbers"
                rows={sections.map((one) => [<code>{one.name}</code>, groupsOf(one.old), groupsOf(one.new)])}
              />
            )}
          </Part>
        </main>
      </div>
    </>
  );
}

const parts = { summary: "Summary", functions: "Functions", contents: "Contents" } as const;

const titles = { shipped: "old module", patched: "new module" } as const;

const everything = { showsEqual: true, mostOpen: 16_000 };

function Part(props: { readonly id: keyof typeof parts; readonly children: preact.ComponentChildren }) {
  return (
    <section id={props.id} aria-labelledby={`${props.id}-title`}>
      <h2 id={`${props.id}-title`}>{parts[props.id]}</h2>
      {props.children}
    </section>
  );
}

/** As the kernel tells functions of one name apart. */
function labelOf(name: string, sympos: number): string {
  return sympos > 0 ? `${name},${sympos}` : name;
}

/** What differs in a function, also where its instructions do not. */
function differenceOf({ code, tables }: ComparedFunction): string {
  const differing = code?.differing ?? 0;
  const isEqual = differing === 0 && tables.length === 0;
  return [
    isEqual
      ? "the same instructions; what they refer to differs"
      : `${counted(differing, "row")} ${differing === 1 ? "differs" : "differ"}`,
    ...(tables.length > 0 ? [`other entries in ${tables.join(", ")}`] : []),
  ].join("; ");
}

function asFunction({ name, object, sympos, unit, code }: ComparedFunction, index: number): ReportedFunction {
  return {
    ...{ id: `fn-${index + 1}`, name, object, unit, sympos, change: "changed", proven: false, reason: "" },
    ...{ bytes: { shipped: null, patched: null }, code, proof: null, inlined: [], state: null },
  };
}

function rowsOf(old: ComparedModule, fresh: ComparedModule): preact.ComponentChildren[][] {
  const row = (what: string, of: (module: ComparedModule) => preact.ComponentChildren) => [what, of(old), of(fresh)];
  return [
    row("name", ({ name }) => name),
    row("kernel", ({ kernel }) => kernel.release),
    row("build id", ({ kernel }) => (kernel.buildId === "" ? "not known" : <code>{kernel.buildId}</code>)),
    row("SHA-256", ({ sha256 }) => <code>{sha256}</code>),
    row("file", ({ bytes }) => bytesText(bytes)),
    row("memory while loaded", ({ memory }) => bytesText(memory)),
    row("signature", ({ signed }) => (signed ? "attached, not checked" : "none")),
    row("kind", ({ replacesAll }) => (replacesAll === null ? "not known" : replacesAll ? "cumulative" : "stacked")),
    row("left after unload", ({ afterUnload }) => afterUnload),
  ];
}

function Uses({ title, uses }: { readonly title: string; readonly uses: readonly Before[] }) {
  return (
    <>
      <h3>{title}</h3>
      {uses.length === 0 ? (
        <Nothing>None in either module.</Nothing>
      ) : (
        <Table
          caption={title}
          heads={["what", "difference"]}
          rows={uses.map(({ what, before, after }) => [
            <code>{what}</code>,
            before === after ? "in both" : <Badge kind={after ? "good" : "bad"}>{after ? "added" : "dropped"}</Badge>,
          ])}
        />
      )}
    </>
  );
}
