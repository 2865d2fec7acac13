import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { commandHelp, programHelp } from "../../../lib/cli/help.ts";
import { commandNames, specOf } from "../../../lib/cli/table.ts";

Deno.test("commandHelp() starts as callers expect, and shows every option that is not hidden", () => {
  for (const name of commandNames()) {
    const text = commandHelp(name);
    const [first, second] = text.split("\n");
    assertEquals(first, "NAME:");
    assertStringIncludes(second ?? "", `runc ${name}`);
    for (const [option, spec] of Object.entries(specOf(name).options)) {
      assertEquals(text.includes(`--${option}`), !spec.hidden, `${name} --${option}`);
    }
    assertStringIncludes(text, specOf(name).example);
  }
});

Deno.test("commandHelp() of delete, whole", () => {
  assertEquals(
    commandHelp("delete"),
    `NAME:
   runc delete - remove a stopped container and everything that belongs to it

USAGE:
   runc delete [options] <container-id>

OPTIONS:
   --force, -f  kill the container first if it is not stopped
   --help, -h   show help

EXAMPLE:
   runc delete web
`,
  );
});

Deno.test("programHelp() starts as callers expect, and lists every command that is not hidden", () => {
  const text = programHelp();
  assert(text.startsWith("NAME:\n   runc - Open Container Initiative runtime\n"));
  for (const name of commandNames()) {
    assertEquals(new RegExp(`^   ${name}\\b.*  ${specOf(name).summary}$`, "m").test(text), !specOf(name).hidden, name);
  }
  assert(!text.includes("--criu"));
  assertStringIncludes(text, "--init <kind>");
  assertStringIncludes(text, "(default: native, $RUNC_INIT)");
});
