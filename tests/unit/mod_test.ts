import { assert, assertEquals, assertThrows } from "@std/assert";
import * as library from "../../mod.ts";

// This file runs without a permission: had the import above opened libc, read a file or looked at the environment, nothing
// here would run.
Deno.test("mod.ts can be imported without any permission", async () => {
  for (const name of ["read", "env", "ffi", "run", "sys"] as const) {
    assertEquals((await Deno.permissions.query({ name })).state, "prompt", name);
  }
});

Deno.test("mod.ts has what the command line uses", () => {
  const functions = [
    library.checkBundle,
    library.compileSeccomp,
    library.createRuntime,
    library.defaultSpec,
    library.execOutput,
    library.explain,
    library.inspectContainer,
    library.loadSpec,
    library.parseConfig,
    library.planContainer,
    library.readConfig,
    library.runOutput,
    library.validate,
    library.Container.create,
    library.Container.load,
  ];
  assert(functions.every((item) => typeof item === "function"));
  const methods = ["start", "exec", "kill", "delete", "state"] as const;
  assert(methods.every((name) => typeof library.Container.prototype[name] === "function"));
});

Deno.test("what is pure works without a permission: a config is read, and refused by name", () => {
  library.parseConfig(JSON.stringify(library.defaultSpec({ cgroup2: true })));
  const error = assertThrows(() => library.parseConfig('{"hostname": 1}'), library.RuncError);
  assertEquals([error.code, error.field], ["config-invalid", "/hostname"]);
});
