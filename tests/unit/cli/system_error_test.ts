import { assertEquals, assertStrictEquals } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { systemError, toRuncError } from "../../../lib/cli/system_error.ts";

Deno.test("systemError() words an errno as Go does", () => {
  const cause = Object.assign(new Deno.errors.NotFound("No such file or directory (os error 2)"), { code: "ENOENT" });
  const { code, message, errno, errnoName } = systemError("open /x", cause);
  assertEquals([code, message, errno, errnoName], [
    "syscall-failed",
    "open /x: no such file or directory",
    2,
    "ENOENT",
  ]);
});

Deno.test("systemError() passes on what is no error of the system", () => {
  const known = new RuncError("usage", "x");
  assertStrictEquals(systemError("open /x", known), known);
  assertEquals(systemError("open /x", new TypeError("bad")).message, "TypeError: bad");
});

Deno.test("toRuncError() makes a bug of whatever it does not know", () => {
  const error = toRuncError("thrown text");
  assertEquals([error.code, error.message], ["internal", "thrown text"]);
});
