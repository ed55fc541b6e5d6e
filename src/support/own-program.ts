/** The words that start kmend itself once more, as this process was started. An executable that holds its own program has itself for a script. */
export function ownProgram(): readonly string[] {
  const { execPath, argv } = process;
  return argv[1] === undefined || argv[1] === execPath ? [execPath] : [execPath, argv[1]];
}
