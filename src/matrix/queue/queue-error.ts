import { ExitCode, KmendError, messageOf, systemErrorCode } from "../../support/errors.ts";

interface Row {
  readonly pattern: RegExp;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** What Redis or the network says, and what it means. */
const rows: readonly Row[] = [
  {
    pattern: /^(NOAUTH|WRONGPASS|ERR (invalid password|Client sent AUTH))/,
    code: "QUEUE_DENIED",
    message: "the queue does not accept who asks",
    hint: "give the user in the address (redis://USER@HOST) and the password with --queue-password-file FILE or KMEND_QUEUE_PASSWORD",
  },
  {
    pattern: /^(NOPERM|ACL|ERR.*permission)/i,
    code: "QUEUE_DENIED",
    message: "the user of the queue may not do what kmend needs",
    hint: "docs/fleet.md has the rules: ACL SETUSER kmend ~kmend:* &kmend:* +@all -@dangerous +info",
  },
  {
    pattern: /^OOM/,
    code: "QUEUE_FULL",
    message: "the queue has no memory left",
    hint: "raise maxmemory of Redis, or remove what else is in it",
  },
  {
    pattern: /^MISCONF/,
    code: "QUEUE_FULL",
    message: "the queue cannot write to its disk",
    hint: "free some space on its disk, and see the log of Redis",
  },
  {
    pattern: /^READONLY/,
    code: "QUEUE_READ_ONLY",
    message: "the queue is a replica, which takes nothing",
    hint: "give the address of the primary",
  },
  {
    pattern: /^WRONGTYPE/,
    code: "QUEUE_OTHER_DATA",
    message: "keys of the queue are in use by something else",
    hint: "give another database of this Redis: redis://HOST:6379/1",
  },
  {
    pattern: /certificate|self[- ]signed|SSL|TLS|wrong version number|EPROTO|altname/i,
    code: "QUEUE_TLS",
    message: "no trusted connection to the queue",
    hint: "use rediss:// where Redis has TLS, and --queue-ca FILE for an authority of your own",
  },
];

/** The expected failure behind anything that the client throws. @param place address without who asks. */
export function queueError(error: unknown, place: string): KmendError {
  if (error instanceof KmendError) return error;
  const said = messageOf(error);
  const row = rows.find(({ pattern }) => pattern.test(said) || pattern.test(systemErrorCode(error) ?? ""));
  const known = row ?? {
    code: "QUEUE_UNREACHABLE",
    message: "the queue cannot be reached",
    hint: "see that redis-server runs there (apt-get install redis-server), listens to this machine, and that no firewall is between",
  };
  return new KmendError({
    ...{ code: known.code, message: known.message, where: place, why: said, hint: known.hint },
    exitCode: ExitCode.environment,
    cause: error,
  });
}
