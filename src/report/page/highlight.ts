import c from "highlight.js/lib/languages/c";
import { createLowlight } from "lowlight";

/** A piece of a line of source, and what it is for the eye. */
export interface Token {
  /** Class of highlight.js, such as `keyword`; empty for plain text. */
  readonly kind: string;
  readonly text: string;
}

const lowlight = createLowlight({ c });

type Tree = ReturnType<typeof lowlight.highlight>;
type Node = Tree["children"][number];

/** Lines of C that follow each other, each as tokens. */
export function highlightLines(lines: readonly string[]): Token[][] {
  const rows: Token[][] = [[]];
  const add = (kind: string, text: string): void => {
    for (const [index, piece] of text.split("\n").entries()) {
      if (index > 0) rows.push([]);
      if (piece !== "") rows.at(-1)?.push({ kind, text: piece });
    }
  };
  const walk = (node: Node, kind: string): void => {
    if (node.type === "text") add(kind, node.value);
    if (node.type !== "element") return;
    const names = node.properties["className"];
    const [name = ""] = Array.isArray(names) ? names.map(String) : [];
    for (const child of node.children) walk(child as Node, name.replace(/^hljs-/, "") || kind);
  };
  for (const node of lowlight.highlight("c", lines.join("\n")).children) walk(node, "");
  return lines.map((line, index) => rows[index] ?? [{ kind: "", text: line }]);
}
