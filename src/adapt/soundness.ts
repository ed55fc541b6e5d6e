import { type Refusal, type RefusalPlace, refuse } from "../refusals/refusals.ts";

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
  CLEARED: {
    why: "an object of it is cleared as a whole, and the new value would have to be cleared too",
    advice: "reset the new value by hand at this place",
  },
  MANAGED: {
    why: "{call}() creates objects that end with something else, where nothing can be added",
    advice: "free the shadow variable by hand where the driver lets go of the device",
  },
  MIXED_RELEASE: {
    why: "its objects are given back by different functions",
    advice: "write the creation of each by hand",
  },
  GFP_COMPUTED: {
    why: "how memory is allocated is computed in the call, and the shadow variable needs it a second time",
    advice: "put it into a variable first",
  },
  NO_END: {
    why: "no place was found where its objects are freed, so the values of those that are gone would stay",
    advice: "free the shadow variable by hand where objects end",
  },
  LATE_END: {
    why: "{call}() frees objects after a grace period, in which they may still be read",
    advice: "free the shadow variable in a callback of call_rcu() of your own",
  },
  MEMBER_FORM: {
    why: "the declaration of {member} is not that of one plain member",
    advice: "declare each new member on its own, outside of unnamed structs and of preprocessor conditionals",
  },
  MEMBER_CHANGED: {
    why: "{member} changes its type, and objects of the kernel hold a value of the old one",
    advice: "leave it as it is, and add a new member beside it",
  },
  INITIALISER: {
    why: "a static initialiser names {member}, which has no place in the object",
    advice: "set the value when the code runs",
  },
  OFFSET: {
    why: "code goes from {member} to the object that holds it (container_of()), or takes its offset, and it has no place in the object",
    advice: "keep a pointer to the object beside the value, in a struct of its own",
  },
  IN_MACRO: {
    why: "the body of a macro uses {member}",
    advice: "use a static inline function in place of the macro",
  },
  NO_OBJECT: {
    why: "what {member} is taken of is not an expression that names the object",
    advice: "put the object into a variable first",
  },
  MAY_NOT_SLEEP: {
    why: "{member} of an object from before the patch may be set here for the first time, and it is not certain that the code may sleep to allocate it",
    advice: "set it only where the code may sleep, or for objects that the patched code creates",
  },
  DEPENDS: {
    why: "the value that {member} gets when an object is created ({value}) depends on more than the object, so that of objects from before the patch is not known",
    advice:
      "write what it is for those: static int init(void *obj, void *data, void *arg) { *(TYPE *)data = …; return 0; }",
  },
  POSITIONAL: {
    why: "an initialiser gives values by the order of the members, which is another one in the objects of the kernel",
    advice: "name the members in the initialiser",
  },
  TRACE_EVENT: {
    why: "the patched code does not compile with the trace event that the kernel has: {message}",
    advice: "give the trace event what it is given now",
  },
  READERS: {
    why: "{what}, and it is not known that the kernel reads it where it is: code that keeps a copy, or was set up by it, would go on with the old value",
    advice: "look at who reads it; where each reader looks anew, write the value from a callback",
  },
  SET_UP: {
    why: "{reason}, and what was made by the old value of {what} may not fit the new one",
    advice: "make the change in the code that reads it now, so that what exists already is not measured by it",
  },
  VALUE_FORM: {
    why: "{what} is no value that a callback can write: {problem}",
    advice: "write this part by hand",
  },
  POINTER_CLEARED: {
    why: "{what} becomes NULL, and code that has just found it set may still use it",
    advice: "leave the pointer, and let what it points at do nothing",
  },
  OLD_OBJECTS: {
    why: "{what} gets a function for where something begins or ends, and there are objects that began without it",
    advice:
      "write it so that it passes over objects from before the patch, with a shadow variable for those that came later",
  },
  TORN: {
    why: "{what} and {other} change together, and code may read one before and the other after",
    advice: "change only one of them, or make the decision in the code that reads them",
  },
  GONE_VALUE: {
    why: "the running kernel has {what} there, which the patched source does not have any more, so it could neither be known nor put back",
    advice: "leave it in the source",
  },
  MORE_CALLBACKS: {
    why: "callbacks of {object} write live data in {what} already",
    advice: "write the values of all of its files in one callback",
  },
  UNTRACED: {
    why: "{function}() is code that no tracer, and no lookup of a shadow variable, may be called from",
    advice: "use the new member in the callers of this function",
  },
  SEVERAL_OBJECTS: {
    why: "the modules {modules} share its objects, and each of them can go while the others stay",
    advice: "free the shadow variables by hand when the patch is disabled",
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

/** The refusal that an obstacle leads to. @param what the type or member that it is about. */
export function refuseObstacle(what: string, { rule, file, line, function: name, values }: Obstacle): Refusal {
  const { why, advice } = soundnessRules[rule];
  const fill = (text: string): string => text.replaceAll(/\{(\w+)\}/g, (_, key: string) => values[key] ?? "");
  const detail = [name === "" ? "" : `${name}()`, line > 0 ? `line ${line}` : ""].filter(Boolean).join(", ");
  const place: RefusalPlace = {
    unit: file,
    ...(name === "" ? {} : { function: name }),
    ...(detail === "" ? {} : { detail }),
  };
  return refuse("NOT_ADAPTABLE", what, place, { rule, problem: fill(why), advice: fill(advice) });
}
