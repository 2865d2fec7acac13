import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import {
  type Caller,
  chooseFilterCache,
  chooseRoot,
  forgivesCgroups,
  parseOwnerUid,
} from "../../../lib/cli/identity.ts";

interface Facts {
  readonly uid?: number;
  readonly inUserNamespace?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly systemdOwner?: number;
}

function caller(facts: Facts): Caller {
  return {
    uid: facts.uid ?? 0,
    environment: (name) => facts.environment?.[name],
    cwd: () => facts.cwd ?? "/home/user",
    inUserNamespace: () => facts.inUserNamespace ?? false,
    systemdOwner: () => facts.systemdOwner ?? 0,
  };
}

const XDG_RUNTIME_DIR = "/run/user/1000";

const roots: readonly [given: string | undefined, facts: Facts, path: string, inRuntimeDir: boolean][] = [
  [undefined, {}, "/run/runc", false],
  // Root on the host keeps to /run/runc.
  [undefined, { environment: { XDG_RUNTIME_DIR } }, "/run/runc", false],
  [undefined, { uid: 1000, environment: { XDG_RUNTIME_DIR } }, "/run/user/1000/runc", true],
  [undefined, { uid: 1000 }, "/run/runc", false],
  [undefined, { uid: 1000, environment: { XDG_RUNTIME_DIR: "" } }, "/run/runc", false],
  // Root in a user namespace: unless it calls itself root.
  [undefined, { inUserNamespace: true, environment: { XDG_RUNTIME_DIR } }, "/run/user/1000/runc", true],
  [undefined, { inUserNamespace: true, environment: { XDG_RUNTIME_DIR, USER: "jo" } }, "/run/user/1000/runc", true],
  [undefined, { inUserNamespace: true, environment: { XDG_RUNTIME_DIR, USER: "root" } }, "/run/runc", false],
  ["/a//b/../c/", {}, "/a/c", false],
  ["x/../y", {}, "/home/user/y", false],
  ["/x", { uid: 1000, environment: { XDG_RUNTIME_DIR } }, "/x", false],
];

Deno.test("chooseRoot() finds the state directory", () => {
  for (const [given, facts, path, inRuntimeDir] of roots) {
    assertEquals(chooseRoot(given, caller(facts)), { path, inRuntimeDir }, JSON.stringify([given, facts]));
  }
});

Deno.test("chooseFilterCache() finds a directory that only this user may write to", () => {
  const cases: readonly [facts: Facts, path: string | undefined][] = [
    [{}, "/run/runc-seccomp"],
    [{ environment: { XDG_RUNTIME_DIR } }, "/run/runc-seccomp"],
    [{ uid: 1000, environment: { XDG_RUNTIME_DIR } }, "/run/user/1000/runc-seccomp"],
    [{ uid: 1000 }, undefined],
    [{ uid: 1000, environment: { XDG_RUNTIME_DIR: "here" } }, undefined],
    [{ inUserNamespace: true, environment: { XDG_RUNTIME_DIR } }, "/run/user/1000/runc-seccomp"],
    [{ inUserNamespace: true, environment: { XDG_RUNTIME_DIR, USER: "root" } }, "/run/runc-seccomp"],
    [{ inUserNamespace: true }, "/run/runc-seccomp"],
  ];
  for (const [facts, path] of cases) {
    assertEquals(chooseFilterCache(caller(facts), "/run"), path, JSON.stringify(facts));
  }
});

Deno.test("chooseRoot() refuses everything that comes to /", () => {
  const wrong: readonly [given: string, cwd: string][] = [["/", "/x"], ["", "/"], [".", "/"], ["../..", "/a/b"], [
    "//..",
    "/x",
  ]];
  for (const [given, cwd] of wrong) {
    assertThrows(
      () => chooseRoot(given, caller({ cwd })),
      RuncError,
      "Option --root argument should not be set to /",
      given,
    );
  }
});

const rootless: readonly [option: string, usesSystemd: boolean, facts: Facts, wanted: boolean][] = [
  ["auto", false, { uid: 1000 }, true],
  ["auto", false, {}, false],
  ["AUTO", false, {}, false],
  ["", false, { uid: 1 }, true],
  ["auto", false, { inUserNamespace: true }, true],
  ["auto", true, { inUserNamespace: true }, false],
  ["auto", true, { inUserNamespace: true, systemdOwner: 1000 }, true],
  ["auto", true, { systemdOwner: 1000 }, false],
  ["true", false, {}, true],
  ["1", false, {}, true],
  ["F", false, { uid: 1000 }, false],
];

Deno.test("forgivesCgroups() follows --rootless, then who calls", () => {
  for (const [option, usesSystemd, facts, wanted] of rootless) {
    assertEquals(
      forgivesCgroups(option, usesSystemd, caller(facts)),
      wanted,
      JSON.stringify([option, usesSystemd, facts]),
    );
  }
  assertThrows(() => forgivesCgroups("maybe", false, caller({})), RuncError, 'parsing "maybe": invalid syntax');
});

Deno.test("parseOwnerUid() reads busctl's answer", () => {
  assertEquals(parseOwnerUid("PID=1\nOwnerUID=1000\nUID=0\n"), 1000);
  assertEquals(parseOwnerUid("UID=5\n"), 0);
});
