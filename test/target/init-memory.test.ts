import { expect, test } from "vitest";
import { InitMemory } from "../../src/target/init-memory.ts";
