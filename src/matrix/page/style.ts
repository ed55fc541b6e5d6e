/** How the page of a run looks. Colours have a contrast of at least 4.5 to their ground in both schemes. */
export const matrixStyle = `
:root { color-scheme: light dark; --page: #f6f7f9; --paper: #ffffff; --ink: #1a2230; --quiet: #566072; --line: #d8dde5; --accent: #0b57b0;
  --good: #14622e; --good-soft: #e2f4e6; --bad: #a0161f; --bad-soft: #fde8e8; --warn: #6b3f00; --warn-soft: #fdf1d6; --note: #123f8c; --note-soft: #e3edfc; --soft: #eef1f5; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #11151b; --paper: #181d25; --ink: #e3e8ef; --quiet: #a3adbd; --line: #313a48; --accent: #7db5ff;
  --good: #7fdc9a; --good-soft: #143022; --bad: #ff9aa0; --bad-soft: #3c1a1e; --warn: #f3c46b; --warn-soft: #372a10; --note: #a5c8ff; --note-soft: #1a2c49; --soft: #212833; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 96rem; padding: 1.2rem; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .5rem; }
a { color: var(--accent); } a:focus-visible, button:focus-visible, select:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.quiet { color: var(--quiet); } .counts { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; list-style: none; }
.counts li, .state { border-radius: 6px; padding: .1rem .6rem; background: var(--soft); color: var(--ink); }
.built, .published, .packaged { background: var(--good-soft) !important; color: var(--good) !important; }
.refused, .held, .retrying { background: var(--warn-soft) !important; color: var(--warn) !important; }
.failed, .cancelled { background: var(--bad-soft) !important; color: var(--bad) !important; }
.running { background: var(--note-soft) !important; color: var(--note) !important; }
form.filter { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; } select, button, input { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: .2rem .6rem; }
.scroll { overflow: auto; max-height: 80vh; background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; font-size: .92rem; } th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--paper); z-index: 1; } td a { text-decoration: none; color: inherit; } td a:hover { text-decoration: underline; }
td.off { opacity: .25; } pre { overflow: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; font-size: .88rem; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.actions { display: flex; gap: .6rem; flex-wrap: wrap; margin: 1rem 0; }
`;

/** Filters the grid, keeps it current where it is served, and hands the token on, which is never a part of an address that is sent. */
export const matrixScript = `
"use strict";
(() => {
  const text = new URLSearchParams(location.hash.slice(1));
  if (text.has("token")) { sessionStorage.setItem("token", text.get("token")); history.replaceState(null, "", location.pathname); }
  const token = sessionStorage.getItem("token") || "";
  for (const form of document.querySelectorAll("form.act")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await fetch(form.action, { method: "POST", headers: { authorization: "Bearer " + token } });
      form.querySelector("output").textContent = await answer.text();
    });
  }
  const filter = document.querySelector("form.filter");
  if (!filter) return;
  const apply = () => {
    const [state, code] = ["state", "code"].map((name) => filter.elements[name].value);
    for (const cell of document.querySelectorAll("td[data-state]")) {
      const codes = cell.dataset.codes.split(" ");
      cell.classList.toggle("off", (state !== "" && cell.dataset.state !== state) || (code !== "" && !codes.includes(code)));
    }
  };
  filter.addEventListener("change", apply);
  if (document.body.dataset.live !== "yes") return;
  setInterval(async () => {
    const answer = await fetch(location.pathname).catch(() => undefined);
    if (!answer || !answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#live");
    const box = document.querySelector("#live .scroll");
    const place = box ? [box.scrollLeft, box.scrollTop] : [0, 0];
    if (next) document.querySelector("#live").replaceWith(next);
    const again = document.querySelector("#live .scroll");
    if (again) again.scrollTo(...place);
    apply();
  }, 3000);
})();
`;
