import { assertEquals } from "@std/assert";
import { movedStack } from "../../../tools/snapshot/move_stack.ts";

const AT = 0x7fff_0000_1000n, DISTANCE = -0x1000_0000_0000n;

const bytesOf = (words: readonly bigint[]) => new Uint8Array(BigInt64Array.from(words).buffer);
const wordsOf = (bytes: Uint8Array<ArrayBuffer>) => [...new BigInt64Array(bytes.buffer)];

Deno.test("movedStack() moves what points to the stack, and hides the vDSO", () => {
  const text = AT + 8n * 18n;
  const before = [
    2n, // argc
    ...[text, text + 2n, 0n], // argv
    ...[text + 4n, 0n], // envp
    ...[33n, 0x7fff_ffff_e000n], // AT_SYSINFO_EHDR
    ...[25n, text + 6n], // AT_RANDOM
    ...[3n, 0x5555_0000_0040n], // AT_PHDR: a pointer to elsewhere
    ...[6n, 4096n], // AT_PAGESZ
    ...[0n, 0n], // AT_NULL
    // What follows is texts, whatever they look like.
    ...[33n, AT],
    ...[0x6261n, AT],
  ];
  const after = [...before];
  for (const index of [1, 2, 4, 9]) after[index]! += DISTANCE;
  after[6] = 1n; // AT_IGNORE
  assertEquals(wordsOf(movedStack(bytesOf(before), AT, DISTANCE)), after);
});

Deno.test("movedStack() copes with no arguments and no environment", () => {
  const words = [0n, 0n, 0n, 0n, 0n];
  const bytes = bytesOf(words);
  const moved = movedStack(bytes, AT, DISTANCE);
  assertEquals(wordsOf(moved), words);
  moved.fill(1);
  assertEquals(wordsOf(bytes), words);
});
