/** The only script of the page, for what the page can do without: uses of a name are marked, and all of a part is opened at once. */
export const pageScript = `
(() => {
  let marked = [];
  const mark = (event) => {
    const name = event.target instanceof Element ? event.target.closest("[data-n]") : null;
    for (const one of marked) one.classList.remove("lit");
    marked = name === null ? [] : [...document.querySelectorAll('[data-n="' + name.dataset.n + '"]')];
    for (const one of marked) one.classList.add("lit");
  };
  document.addEventListener("pointerover", mark);
  document.addEventListener("focusin", mark);
  const reveal = () => {
    const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let at = target; at !== null; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target !== null) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  for (const button of document.querySelectorAll("button[data-open]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const all = [...document.querySelectorAll("#" + button.dataset.open + " details")];
      const open = all.some((one) => !one.open);
      for (const one of all) one.open = open;
      button.setAttribute("aria-expanded", String(open));
    });
  }
})();
`;
