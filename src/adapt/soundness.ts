/** What has to hold so that a type's new member can be live, and what a person would do where it does not. Each row is checked, or the change is refused. */
export const soundnessRules = {
  EMBEDDED: {
    why: "it is part of {holder}, so its objects are created and end with that one",
    advice: "keep the new value in a shadow variable of the object that holds it",
  },
  LOCAL_OBJECT: {
    why: "{what} is an object of it that no allocator made",
    advice: "keep the value of this object in a variable beside it",
  },
  ARRAY: {
    why: "its objects are elements of an array, which code walks by the size that the kernel was built with",
    advice: "keep the new values in an array of their own, with the same index",
  },
  BY_VALUE: {
    why: "functions pass or return it by value",
    advice: "pass the new value as a parameter of its own",
  },
  COPIED: {
    why: "an object of it is assigned to another one, and the new value would have to follow it",
    advice: "copy the new value by hand at this place",
  },
  SIZE_USED: {
    why: "its size is used in {use}, and it is not known what is done with it there",
    advice:
      "look at this place: where it creates an object, the new value has to be initialised; where it copies one, copied",
  },
  NOT_ZEROED: {
    why: "{call}() creates objects without setting their padding to zero, so the new member of those that exist can have any value",
    advice: "keep the new value in a shadow variable",
  },
  NO_CREATION: {
    why: "no place was found where its objects are created, so nothing is known of what they hold",
    advice: "write the patch with a shadow variable by hand, where it is known how objects of it come and go",
  },
  BESIDE_BITS: {
    why: "the new member is in the same word as bit fields of the kernel, which the old code writes as a whole",
    advice: "keep the new value in a shadow variable, or as a bit field behind the last one of the word",
  },
  UNCLEAR: {
    why: "the compiler says of it: {message}",
    advice: "write this part by hand",
  },
} as const satisfies Record<string, { readonly why: string; readonly advice: string }>;
export type SoundnessRule = keyof typeof soundnessRules;

/** Something that keeps a type's change from being made live, with its place. */
export interface Obstacle {
  readonly rule: SoundnessRule;
  readonly file: string;
  readonly line: number;
  readonly function: string;
  /** For the `{…}` places of the rule's texts. */
  readonly values: Readonly<Record<string, string>>;
}
