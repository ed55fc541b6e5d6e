/** Text that comes from elsewhere, such as the name of a task or a description: what a terminal would obey is shown as a question mark. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (sign) => (sign === "\t" || sign === "\n" ? sign : "?"));
}
