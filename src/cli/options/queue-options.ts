import type { CommandContext, OptionDefinition, OptionValues } from "../command.ts";

/** Options that say where the queue is. */
export const queueOptions: readonly OptionDefinition[] = [
  {
    flags: "--queue <URL>",
    description: "the Redis or Valkey with the queue: redis://[USER@]HOST[:PORT][/DATABASE], or rediss: for TLS",
  },
  {
    flags: "--queue-ca <FILE>",
    description: "with rediss: certificate of the authority to trust (default: the system's)",
  },
  {
    flags: "--queue-password-file <FILE>",
    description: "file with the password of the queue (default: KMEND_QUEUE_PASSWORD)",
  },
];

/** Connects to the queue that the options name. @throws KmendError as `connectQueue` */
export async function connectTo(url: string, options: OptionValues, { progress }: CommandContext) {
  const { queueAddress } = await import("../../matrix/queue/queue-address.ts");
  const { connectQueue } = await import("../../matrix/queue/queue-connection.ts");
  const address = await queueAddress({
    url,
    ca: options.text("queueCa"),
    passwordFile: options.text("queuePasswordFile"),
  });
  return connectQueue(address, (text) => progress.note(text));
}
