import { assertEquals } from "@std/assert";
import { configError } from "../../../lib/libcontainer/validate.ts";
import { unsupported } from "../../../lib/libcontainer/unsupported.ts";
import { defaultSpec, rootlessSpec } from "../../../lib/specs/default_spec.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";

Deno.test("unsupported() has nothing to say about the default configs", () => {
  const spec = defaultSpec({ cgroup2: true });
  assertEquals(unsupported(spec), []);
  assertEquals(unsupported(rootlessSpec(spec, { uid: 1, gid: 1 })), []);
});

Deno.test("unsupported() names what is for other systems, as an error with a code of its own", () => {
  for (const name of ["solaris", "windows", "vm", "zos", "freebsd"]) {
    const { code, message, field } = configError(unsupported(parseConfig(`{"${name}": {}}`)));
    assertEquals({ code, message, field }, {
      code: "unsupported",
      message: `/${name} is not supported by this version`,
      field: `/${name}`,
    });
  }
});
