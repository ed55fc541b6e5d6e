import type { Atom } from "../diff/atoms.ts";
import type { FunctionRecord } from "./comparison-record.ts";
import type { Mismatch, Proof } from "./match-unit.ts";
import type { PlaceValue, TargetObject } from "./target-object.ts";

/** The proof of a unit that has things of other units with the patch: what their originals show counts for it too. */
export class JoinedProof implements Proof {
  readonly target: TargetObject;
  readonly matchedCount: number;
  readonly functionCount: number;
  readonly #proofs: readonly Proof[];

  /** @param own of the unit itself. @param others of units of the same object. */
  constructor(own: Proof, others: readonly Proof[]) {
    this.target = own.target;
    this.matchedCount = own.matchedCount;
    this.functionCount = own.functionCount;
    this.#proofs = [own, ...others];
  }

  addressOf(atom: Atom): number | undefined {
    return this.#first((proof) => proof.addressOf(atom));
  }

  valueOf(external: string): PlaceValue | undefined {
    return this.#first((proof) => proof.valueOf(external));
  }

  isMatched(atom: Atom): boolean {
    return this.#proofs.some((proof) => proof.isMatched(atom));
  }

  mismatchOf(atom: Atom): Mismatch | undefined {
    return this.#first((proof) => proof.mismatchOf(atom));
  }

  reachProblem(atom: Atom): Mismatch | undefined {
    return this.#proofs.find((proof) => proof.owns(atom))?.reachProblem(atom);
  }

  recordOf(atom: Atom): Promise<FunctionRecord | undefined> {
    return this.#proofs.find((proof) => proof.isMatched(atom))?.recordOf(atom) ?? Promise.resolve(undefined);
  }

  owns(atom: Atom): boolean {
    return this.#proofs.some((proof) => proof.owns(atom));
  }

  #first<Value>(ask: (proof: Proof) => Value | undefined): Value | undefined {
    for (const proof of this.#proofs) {
      const answer = ask(proof);
      if (answer !== undefined) return answer;
    }
    return undefined;
  }
}
