import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { asksForLandlock, landlockSteps, restrictSteps } from "../../../../lib/libcontainer/steps/landlock.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { callsNamed, labels, origins, structArg, structHex } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

const read = "org.opencontainers.landlock.read";
const write = "org.opencontainers.landlock.write";

const process = { cwd: "/", user: { uid: 0, gid: 0 }, noNewPrivileges: true };

Deno.test("Landlock is off unless an annotation asks for it", () => {
  assertEquals([asksForLandlock({}), asksForLandlock({ "org.opencontainers.image": "a" })], [false, false]);
  assertEquals(landlockSteps({}, process, "x86_64"), []);
  assertEquals([asksForLandlock({ [read]: "" }), asksForLandlock({ [write]: "/tmp" })], [true, true]);
});

Deno.test("each path is a rule, with the annotation that asked for it; none at all allows nothing", () => {
  assertEquals(origins(landlockSteps({ [write]: "/tmp:/home/a b", [read]: "/" }, process, "x86_64")), [
    ["make a Landlock ruleset, which allows nothing", "/annotations"],
    ["allow 0xc beneath /", `/annotations/${read}`],
    ["allow 0x7ffe beneath /tmp", `/annotations/${write}`],
    ["allow 0x7ffe beneath /home/a b", `/annotations/${write}`],
  ]);
  assertEquals(landlockSteps({ [read]: "" }, process, "x86_64").length, 1);
});

Deno.test("the ruleset handles what the kernel knows: without truncate, then without refer", () => {
  const creates = callsNamed(landlockSteps({ [read]: "/" }, process, "x86_64"), "landlock_create_ruleset");
  assertEquals(creates.map((call) => structHex(structArg(call, 0))), [
    "ff7f0000 00000000",
    "ff3f0000 00000000",
    "ff1f0000 00000000",
  ]);
  assertEquals(creates.map(({ onError }) => onError?.map(({ errnos }) => errnos)), [
    [["EINVAL"]],
    [["EINVAL"]],
    undefined,
  ]);
});

Deno.test("a process that may gain privileges is refused: it could not restrict itself", () => {
  const lax = { ...process, noNewPrivileges: false };
  assertThrows(() => landlockSteps({ [read]: "/" }, lax, "x86_64"), RuncError, "requires process.noNewPrivileges");
  assertEquals(landlockSteps({}, lax, "x86_64"), []);
  assertEquals([restrictSteps({}), restrictSteps({ [read]: "" }).length], [[], 1]);
});

Deno.test("the restriction is the last thing before the program is executed", () => {
  const { init } = planCreate(config((draft) => draft.annotations = { [read]: "/" }), facts, request);
  assertEquals(labels(init).slice(-3), [
    "be restricted by Landlock from here on",
    "close everything that is not the container's",
    "become sh",
  ]);
});

Deno.test("an annotation that is none, and a path that is not absolute, are refused", () => {
  const cases: readonly [annotations: Record<string, string>, message: string, field: string][] = [
    [{ [`${read}s`]: "/" }, `unknown annotation ${read}s`, `/annotations/${read}s`],
    [{ [read]: "/a:b" }, `${read}: "b" is not an absolute path`, `/annotations/${read}`],
  ];
  for (const [annotations, message, field] of cases) {
    const error = assertThrows(() => landlockSteps(annotations, process, "x86_64"), RuncError, message);
    assertEquals([error.code, error.field], ["config-invalid", field]);
  }
});
