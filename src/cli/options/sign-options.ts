import type { ModuleSigner } from "../../package/sign-module.ts";
import type { OptionDefinition, OptionValues } from "../command.ts";
import { usageError } from "./usage.ts";

/** Options that say who signs modules. */
export const signOptions: readonly OptionDefinition[] = [
  { flags: "--sign-key <KEY>", description: "sign modules with this key: a PEM file or a pkcs11: URI" },
  { flags: "--sign-cert <FILE>", description: "certificate of the key" },
  { flags: "--sign-hash <NAME>", description: "digest of module signatures (default: sha256)" },
];

/** Both parts of a module signer, or none. @throws KmendError `USAGE` (exit 2). */
export function signerOf(command: string, options: OptionValues): ModuleSigner | undefined {
  const key = options.text("signKey");
  const certificate = options.text("signCert");
  if (key === undefined && certificate === undefined) return undefined;
  if (key === undefined || certificate === undefined)
    throw usageError(command, "--sign-key and --sign-cert go together");
  return { key, certificate, hash: options.text("signHash") };
}
