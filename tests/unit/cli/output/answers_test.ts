import { assertEquals } from "@std/assert";
import { answersJson, answersText, doctorStatus } from "../../../../lib/cli/output/answers.ts";
import { plain } from "../../../../lib/cli/output/colour.ts";
import type { Answer } from "../../../../lib/libcontainer/checks/doctor/answer.ts";

const answers: readonly Answer[] = [
  { id: "keys", area: "kernel", state: "missing", message: "no keys", fix: "sysctl -w a=1" },
  { id: "proc", area: "kernel", state: "ok", message: "fine" },
  { id: "ps", area: "tools", state: "off", message: "no ps" },
];

Deno.test("answersText() has a line for each answer, and its command below", () => {
  assertEquals(
    answersText(answers, plain),
    `kernel
  MISSING  no keys [keys]
           fix: sysctl -w a=1
  ok       fine [proc]

tools
  off      no ps [ps]

1 missing
`,
  );
  assertEquals(answersText(answers.slice(1), plain).split("\n").at(-2), "nothing is missing");
});

Deno.test("answersText() paints what is missing red", () => {
  const painted = answersText(answers, (colour, text) => `<${colour}>${text}</>`);
  assertEquals(painted.includes("<red>MISSING</>"), true);
  assertEquals(painted.includes("<green>ok     </>"), true);
});

Deno.test("answersJson() and doctorStatus() say whether something is missing", () => {
  assertEquals([doctorStatus(answers), doctorStatus(answers.slice(1))], [1, 0]);
  const { bundle, missing, answers: read } = JSON.parse(answersJson(answers, "/b"));
  assertEquals([bundle, missing, read], ["/b", true, answers]);
  assertEquals(Object.keys(JSON.parse(answersJson([], undefined))), ["missing", "answers"]);
});
