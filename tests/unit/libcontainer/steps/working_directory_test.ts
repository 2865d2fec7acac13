import { assertEquals } from "@std/assert";
import { checkDirectorySteps, enterDirectorySteps } from "../../../../lib/libcontainer/steps/working_directory.ts";
import { callsNamed, lines } from "../../plan_reader.ts";

Deno.test("the working directory is entered as root, or as the user where root may not", () => {
  assertEquals(lines(enterDirectorySteps("/w", "before setuid")), ['$chdir_later = chdir("/w")  /* fine if EACCES */']);
  assertEquals(lines(enterDirectorySteps("/w", "after setuid")), ["if $chdir_later != 0:", '  chdir("/w")']);
  for (const when of ["before setuid", "after setuid"] as const) {
    const [chdir] = callsNamed(enterDirectorySteps("/w", when), "chdir");
    assertEquals(chdir!.meaning?.["*"], 'chdir to cwd ("/w") set in config.json failed');
  }
});

Deno.test("a working directory outside of the root is refused: it has no name, or one without a slash", () => {
  const why =
    "current working directory is outside of container mount namespace root -- possible container breakout detected";
  assertEquals(lines(checkDirectorySteps()), [
    "getcwd(&cwd, 4096)",
    "$type = 1 bytes at &cwd+0",
    "if $type != 47:",
    `  fail: ${why}`,
  ]);
  assertEquals(callsNamed(checkDirectorySteps(), "getcwd")[0]!.meaning?.ENOENT, why);
});
