/** How the page looks; everything that it needs is here. Colours have a contrast of at least 4.5 to their ground in both schemes. */
export const pageStyle = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --paper: #ffffff; --ink: #1a2230; --quiet: #566072; --line: #d8dde5; --soft: #eef1f5;
  --accent: #0b57b0; --good: #14622e; --good-soft: #e2f4e6; --good-line: #2f9e55;
  --bad: #a0161f; --bad-soft: #fde8e8; --bad-line: #d63b45; --warn: #774700; --warn-soft: #fdf1d6; --warn-line: #c98a1b;
  --note: #123f8c; --note-soft: #e3edfc; --lit: #ffe27a; --lit-ink: #241c00;
  --key: #8b1f8f; --str: #0f5c45; --num: #0a5a8a; --com: #5a6472; --fn: #123f8c;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --paper: #181d25; --ink: #e3e8ef; --quiet: #a3adbd; --line: #313a48; --soft: #212833;
    --accent: #7db5ff; --good: #7fdc9a; --good-soft: #143022; --good-line: #3aa563;
    --bad: #ff9aa0; --bad-soft: #3c1a1e; --bad-line: #d9525b; --warn: #f3c46b; --warn-soft: #372a10; --warn-line: #c99030;
    --note: #a5c8ff; --note-soft: #1a2c49; --lit: #6b5600; --lit-ink: #fff6d0;
    --key: #e59aea; --str: #8fd9b6; --num: #8ecdf5; --com: #9aa5b5; --fn: #a5c8ff;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
code, pre, .code, table.diff, table.code, .dd-code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-size: .92em; overflow-wrap: anywhere; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible, button:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem 1rem; z-index: 5; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.frame { max-width: 1480px; margin: 0 auto; padding: 0 1.25rem 4rem; display: grid; grid-template-columns: 12.5rem minmax(0, 1fr); gap: 2rem; }
.top { max-width: 1480px; margin: 0 auto; padding: 1.6rem 1.25rem 1rem; }
.top p { margin: 0; color: var(--quiet); }
h1 { margin: .1rem 0 0; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
nav ol { position: sticky; top: 1rem; list-style: none; margin: 0; padding: 0; border-left: 2px solid var(--line); }
nav a { display: block; padding: .28rem .9rem; color: var(--ink); text-decoration: none; margin-left: -2px; border-left: 2px solid transparent; }
nav a:hover { border-left-color: var(--accent); color: var(--accent); }
nav .count { color: var(--quiet); font-size: .85em; }
main > section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 1.2rem 1.5rem 1.5rem; margin-bottom: 1.4rem; }
.head { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: .5rem; }
h2 { margin: 0; font-size: 1.25rem; }
h3 { margin: 1.4rem 0 .5rem; font-size: 1.02rem; }
summary h3, summary h4 { display: inline; margin: 0; }
h4 { margin: 0 0 .2rem; font-size: .95rem; }
p { margin: .5rem 0; }
.lead { color: var(--quiet); margin: .3rem 0 1rem; max-width: 62rem; }
.quiet, .nothing { color: var(--quiet); }
.lines { white-space: pre-wrap; overflow-wrap: anywhere; }
button { font: inherit; font-size: .85rem; color: var(--accent); background: none; border: 1px solid var(--line); border-radius: 999px; padding: .15rem .8rem; cursor: pointer; }
.verdict { display: flex; align-items: center; gap: 1.1rem; border-radius: 10px; padding: 1rem 1.3rem; margin: .8rem 0 1.2rem; border-left: 6px solid; }
.verdict.good { background: var(--good-soft); border-color: var(--good-line); color: var(--good); }
.verdict.bad { background: var(--bad-soft); border-color: var(--bad-line); color: var(--bad); }
.verdict.warn { background: var(--warn-soft); border-color: var(--warn-line); color: var(--warn); }
.verdict .sign { font-size: 2.2rem; line-height: 1; font-weight: 700; }
.verdict .word { font-size: 1.35rem; font-weight: 700; margin: 0; }
.verdict .of { margin: .1rem 0 0; color: var(--ink); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem 1.5rem; margin: .8rem 0 1rem; }
.facts dt { font-size: .8rem; color: var(--quiet); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.facts dd.code { font-size: .82rem; }
.badge { display: inline-block; font-size: .76rem; font-weight: 600; line-height: 1.5; padding: 0 .55rem; border-radius: 999px; white-space: nowrap; }
.badge.good { background: var(--good-soft); color: var(--good); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.badge.warn { background: var(--warn-soft); color: var(--warn); }
.badge.note { background: var(--note-soft); color: var(--note); }
.badge.plain { background: var(--soft); color: var(--quiet); }
.cards, .attention, .fates, .legend { list-style: none; margin: .5rem 0; padding: 0; }
.card { border: 1px solid var(--line); border-left: 5px solid; border-radius: 8px; padding: .6rem 1rem; margin: .6rem 0; }
.card.bad { border-left-color: var(--bad-line); } .card.warn { border-left-color: var(--warn-line); }
.card p { margin: .2rem 0; overflow-wrap: anywhere; }
.attention { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; }
.attention > li { background: var(--soft); border-radius: 8px; padding: .7rem 1rem; min-width: 0; overflow-wrap: anywhere; }
.attention ul { margin: 0; padding-left: 1.1rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; padding: .15rem 0; overflow-wrap: anywhere; }
details.function { border: 1px solid var(--line); border-radius: 10px; padding: .5rem 1rem; margin: .9rem 0; }
.scroll { overflow-x: auto; max-width: 100%; border: 1px solid var(--line); border-radius: 8px; margin: .4rem 0 .8rem; background: var(--paper); }
.listing { margin: 0; border-radius: 0; border-width: 0 0 1px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; font-weight: 600; font-size: .8rem; color: var(--quiet); background: var(--soft); padding: .3rem .7rem; white-space: nowrap; }
td { padding: .28rem .7rem; vertical-align: top; border-top: 1px solid var(--line); }
td code { overflow-wrap: normal; }
pre { margin: 0; padding: .7rem 1rem; font-size: .84rem; line-height: 1.5; }
.fates li { margin: .3rem 0; overflow-wrap: anywhere; }
.hunk { margin: .9rem 0; }
table.diff { font-size: .82rem; line-height: 1.5; }
table.diff td { border: 0; padding: 0 .6rem; white-space: pre; tab-size: 8; }
.no { color: var(--quiet); text-align: right; width: 3.2rem; user-select: none; }
.change { width: 1.6rem; color: var(--quiet); user-select: none; }
tr.added td { background: var(--good-soft); } tr.removed td { background: var(--bad-soft); }
tr.added .no, tr.removed .no, tr.added .change, tr.removed .change { color: var(--ink); }
tr.refusal td { background: var(--bad-soft); color: var(--bad); white-space: normal; padding: .3rem .6rem; font-family: system-ui, sans-serif; }
.hl-keyword, .hl-type, .hl-meta { color: var(--key); } .hl-string { color: var(--str); } .hl-number, .hl-literal { color: var(--num); }
.hl-comment { color: var(--com); font-style: italic; } .hl-title, .hl-built_in { color: var(--fn); }
tr.added .hl-comment, tr.removed .hl-comment { color: var(--ink); }
table.code { font-size: .8rem; line-height: 1.55; table-layout: fixed; min-width: 62rem; }
table.code.single { min-width: 34rem; }
table.code td { border: 0; padding: 0 .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
table.code th { padding: .2rem .5rem; }
col.at { width: 3.2rem; } col.lane { width: 3.2rem; }
table.code td:nth-child(3n+1) { text-align: right; color: var(--quiet); user-select: none; }
table.code td:nth-child(3n+2) { color: var(--accent); white-space: pre; user-select: none; padding: 0; overflow: hidden; }
table.code td:target { outline: 2px solid var(--accent); }
tr.d td:nth-child(-n+3) { background: var(--bad-soft); } tr.d td:nth-child(n+4) { background: var(--good-soft); }
tr.d.l td:nth-child(-n+3), tr.d.r td:nth-child(n+4) { background: var(--soft); }
table.code tr.d td:nth-child(3n+1) { color: var(--ink); }
table.code tr.place td:first-child { text-align: left; user-select: auto; color: var(--quiet); font-size: .74rem; padding: .45rem 0 .1rem .6rem; }
tr.place code { color: var(--fn); margin-left: 1rem; font-size: inherit; } tr.place .plus { color: var(--good); }
.fold, details.equal > summary { color: var(--quiet); font-size: .82rem; margin: 0; padding: .2rem .6rem; background: var(--soft); }
details.equal { margin: 0; }
a.n { text-decoration-style: dotted; text-underline-offset: 2px; }
.lit { background: var(--lit); color: var(--lit-ink); border-radius: 3px; }
table.numbers td:nth-child(n+2) { font-variant-numeric: tabular-nums; }
table.pair { table-layout: fixed; } table.pair th:first-child { width: 6.5rem; } table.pair td, table.pair td code { overflow-wrap: anywhere; }
table.layout tr.used td { background: var(--note-soft); } table.layout tr.differs td { background: var(--warn-soft); } table.layout tr.hole td { color: var(--quiet); }
table.layout tr.used .no, table.layout tr.differs .no { color: var(--ink); }
.graph { padding: .5rem; }
svg { display: block; }
.node rect { fill: var(--paper); stroke: var(--line); stroke-width: 1.4; }
.node text { text-anchor: middle; fill: var(--ink); }
.node .name { font: 600 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.node .object { font: 11px system-ui, sans-serif; fill: var(--quiet); }
.node-changed rect, .key.node-changed { fill: var(--good-soft); stroke: var(--good-line); stroke-width: 2; }
.node-new rect { fill: var(--note-soft); stroke: var(--note); stroke-width: 2; }
.node-caller rect { fill: var(--soft); } .node-inlined rect { fill: var(--note-soft); stroke: var(--note); stroke-dasharray: 4 3; }
.node-changed .object, .node-new .object, .node-inlined .object { fill: var(--ink); }
.node.marked rect { stroke: var(--bad-line); stroke-width: 2.4; }
.edge { fill: none; stroke: var(--quiet); stroke-width: 1.3; } .edge-inlined { stroke-dasharray: 5 4; } .edge-reaches { stroke-dasharray: 1.5 3; }
.edge-marked { stroke: var(--bad-line); stroke-width: 2; } .tip { fill: var(--quiet); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; font-size: .85rem; }
.key { display: inline-block; width: 1.1rem; height: .8rem; border-radius: 3px; border: 2px solid var(--line); vertical-align: -1px; }
.key.node-changed { background: var(--good-soft); border-color: var(--good-line); } .key.node-new { background: var(--note-soft); border-color: var(--note); }
.key.node-caller { background: var(--soft); } .key.node-inlined { background: var(--note-soft); border: 2px dashed var(--note); } .key.marked { border-color: var(--bad-line); }
footer { max-width: 1480px; margin: 0 auto; padding: 0 1.25rem 3rem; color: var(--quiet); font-size: .85rem; }
@media (max-width: 980px) {
  .frame { display: block; }
  nav ol { position: static; display: flex; flex-wrap: wrap; border: 0; gap: .3rem; margin-bottom: 1rem; }
  nav a { border: 1px solid var(--line) !important; border-radius: 999px; margin: 0; padding: .15rem .7rem; background: var(--paper); }
}
@media (max-width: 560px) {
  .frame, .top, footer { padding-left: .7rem; padding-right: .7rem; }
  main > section { padding: .9rem .8rem 1rem; border-radius: 8px; }
  h1 { font-size: 1.3rem; }
  details.function { padding: .4rem .5rem; }
  .attention { grid-template-columns: 1fr; }
}
@media print {
  body { background: #fff; font-size: 10.5pt; }
  nav, button, .skip { display: none !important; }
  .frame { display: block; padding: 0; }
  main > section { border: 0; padding: 0; break-before: auto; }
  .scroll { overflow: visible; } table.code { min-width: 0; font-size: 7.5pt; } svg { max-width: 100%; height: auto; }
  tr, .card, summary { break-inside: avoid; }
}
`;
