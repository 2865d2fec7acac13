import { assertEquals } from "@std/assert";
import { formatHooks } from "../../../../lib/cli/output/hooks.ts";

Deno.test("formatHooks() has a line for each hook, with its arguments after argv[0] and its timeout", () => {
  assertEquals(
    formatHooks([
      { name: "prestart", index: 0, path: "/bin/one" },
      { name: "poststop", index: 0, path: "/bin/two", args: ["two", "a b", "c\n"], timeout: 1.5 },
      { name: "poststop", index: 10, path: "/bin/three", args: ["three"] },
    ]),
    `prestart 0   /bin/one
poststop 0   /bin/two "a b" "c\\n"  (timeout: 1.5 s)
poststop 10  /bin/three
`,
  );
  assertEquals(formatHooks([]), "no hooks\n");
});
