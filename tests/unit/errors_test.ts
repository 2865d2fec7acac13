import { assertEquals } from "@std/assert";
import { errorFields, RuncError } from "../../lib/errors.ts";

Deno.test("errorFields() has every detail that is known, errno by name", () => {
  const failure = new RuncError("step-failed", "error mounting", {
    field: "/mounts/2",
    step: "mount devpts",
    call: "mount(...)",
    errno: 1,
    errnoName: "EPERM",
    hint: "be root",
  });
  assertEquals(errorFields(failure), {
    code: "step-failed",
    field: "/mounts/2",
    step: "mount devpts",
    call: "mount(...)",
    errno: "EPERM",
    hint: "be root",
  });
  assertEquals(errorFields(new RuncError("usage", "x")), { code: "usage" });
});
