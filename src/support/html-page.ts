import { createHash } from "node:crypto";
import { h, type JSX } from "preact";
import { render } from "preact-render-to-string";

/** What stands around the content of a page. */
export interface PageFrame {
  readonly title: string;
  /** Texts of ours, in which nothing from outside has a place. */
  readonly style: string;
  readonly script: string;
  /** What its script may talk to; default nothing. */
  readonly connect?: "'self'" | "'none'";
  /** Attributes of the body. */
  readonly body?: Readonly<Record<`data-${string}`, string>>;
}

/**
 * One HTML file that needs nothing else. Texts in the content are escaped by the library that renders them. Its policy allows its own style and script by
 * their digests, and nothing else; the same input gives the same bytes.
 */
export function htmlPage(content: JSX.Element, { title, style, script, connect, body = {} }: PageFrame): string {
  const policy = [
    "default-src 'none'",
    `style-src '${digestOf(style)}'`,
    `script-src '${digestOf(script)}'`,
    ...(connect === undefined ? [] : [`connect-src ${connect}`]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const meta = (name: string, text: string): JSX.Element => h("meta", { name, content: text });
  const head = h(
    "head",
    null,
    h("meta", { charSet: "utf-8" }),
    h("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    meta("viewport", "width=device-width, initial-scale=1"),
    meta("color-scheme", "light dark"),
    meta("referrer", "no-referrer"),
    h("title", null, title),
    h("style", { dangerouslySetInnerHTML: { __html: style } }),
  );
  const own = h("script", { dangerouslySetInnerHTML: { __html: script } });
  return `<!doctype html>\n${render(h("html", { lang: "en" }, head, h("body", { ...body }, content, own)))}\n`;
}

function digestOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
