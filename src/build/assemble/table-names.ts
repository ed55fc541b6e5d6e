/** Name of the table of redirections of unit `number`, an array of `struct kmend_func` (see glue.ts). */
export function functionTableName(number: number): string {
  return `kmend_funcs_${number}`;
}

/** Name of the table of callbacks of unit `number`, an array of `struct kmend_callback` (see glue.ts). */
export function callbackTableName(number: number): string {
  return `kmend_callbacks_${number}`;
}
