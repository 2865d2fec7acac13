import { assertEquals } from "@std/assert";
import { capabilityFindings, securityFindings } from "../../../../lib/libcontainer/inspect/security.ts";
import { rlimitFindings } from "../../../../lib/libcontainer/inspect/rlimits.ts";
import type { Process, Seccomp } from "../../../../lib/specs/config.ts";
import { endedView, named, stateOf, viewOf } from "./fixed.ts";

const both = ["CAP_KILL", "CAP_CHOWN"];
const all = { bounding: both, effective: both, inheritable: both, permitted: both, ambient: both };
const bits = "0000000000000021";

Deno.test("capability sets are equal whatever their order", () => {
  const status = { CapBnd: bits, CapEff: bits, CapInh: bits, CapPrm: bits, CapAmb: bits };
  const found = capabilityFindings(stateOf({ process: { capabilities: all } }), viewOf({ status }));
  assertEquals(found.map(({ name, verdict, note }) => [name, verdict, note]), [
    ["bounding", "same", undefined],
    ["effective", "same", undefined],
    ["inheritable", "same", undefined],
    ["permitted", "same", undefined],
    ["ambient", "same", undefined],
  ]);
  assertEquals(found[0]!.kernel, "CAP_CHOWN CAP_KILL");
});

Deno.test("what execve does to the sets is explained", () => {
  const capabilities = { ...all, ambient: [], effective: ["CAP_KILL"] };
  const state = stateOf({ process: { capabilities } });
  const user = capabilityFindings(state, viewOf({ status: { Uid: "1 1 1 1", CapBnd: bits } }));
  assertEquals(
    named(user, "permitted").note,
    "missing: CAP_CHOWN CAP_KILL; a program that a user other than root executes keeps only the ambient set",
  );
  assertEquals(named(user, "inheritable").note, "missing: CAP_CHOWN CAP_KILL");
  const root = capabilityFindings(state, viewOf({ status: { CapBnd: bits, CapEff: bits } }));
  assertEquals(
    named(root, "effective").note,
    "added: CAP_CHOWN; a program that root executes gets the bounding set",
  );
});

Deno.test("without capabilities in the config there is nothing to compare", () => {
  const found = capabilityFindings(stateOf(), viewOf({ status: { CapEff: bits } }));
  assertEquals([named(found, "effective").verdict, named(found, "effective").kernel], ["unset", "CAP_CHOWN CAP_KILL"]);
});

function security(
  process: Partial<Process>,
  status: Record<string, string>,
  { seccomp, own = "0", label }: { seccomp?: Seccomp; own?: string; label?: string } = {},
) {
  const view = viewOf({ status, label, oomScoreAdj: "5" }, { own: { namespaces: {}, seccomp: own } });
  const found = securityFindings(stateOf({ process, linux: { seccomp } }), view);
  return (name: string) => {
    const { config, kernel, verdict, note } = named(found, name);
    return [config, kernel, verdict, note];
  };
}

Deno.test("noNewPrivileges and the OOM score", () => {
  const told = security({ noNewPrivileges: true, oomScoreAdj: 5 }, { NoNewPrivs: "1" });
  assertEquals(told("noNewPrivileges"), ["yes", "yes", "same", undefined]);
  assertEquals(told("OOM score"), ["5", "5", "same", undefined]);
  const others = security({ oomScoreAdj: 0 }, { NoNewPrivs: "1" });
  assertEquals(others("noNewPrivileges"), ["no", "yes", "different", undefined]);
  assertEquals(others("OOM score"), ["0", "5", "different", undefined]);
  assertEquals(security({}, {})("OOM score"), [undefined, "5", "unset", undefined]);
});

Deno.test("a profile needs the filter mode, no profile needs that it is off or the caller's", () => {
  const seccomp: Seccomp = { defaultAction: "SCMP_ACT_ERRNO" };
  const filter = { Seccomp: "2", Seccomp_filters: "1" };
  const wanted = "filter, default SCMP_ACT_ERRNO";
  assertEquals(security({}, filter, { seccomp })("seccomp"), [wanted, "filter (1 in force)", "same", undefined]);
  assertEquals(security({}, {}, { seccomp })("seccomp"), [wanted, "off", "different", undefined]);
  assertEquals(security({}, {})("seccomp"), ["off", "off", "same", undefined]);
  assertEquals(security({}, filter)("seccomp"), ["off", "filter (1 in force)", "different", "the program's own"]);
  assertEquals(security({}, filter, { own: "2" })("seccomp"), [
    "off",
    "filter (1 in force)",
    "same",
    "of the caller, or the program's own",
  ]);
});

Deno.test("a label of AppArmor may have its mode behind it", () => {
  const apparmor = { apparmorProfile: "docker-default" };
  const labelOf = (process: Partial<Process>, label?: string) => security(process, {}, { label })("label");
  assertEquals(labelOf(apparmor, "docker-default (enforce)")[2], "same");
  assertEquals(labelOf(apparmor, "docker-default")[2], "same");
  assertEquals(labelOf(apparmor, "unconfined")[2], "different");
  assertEquals(labelOf(apparmor), [
    "docker-default",
    undefined,
    "unknown",
    "no security module with labels is in use",
  ]);
  assertEquals(
    labelOf({ selinuxLabel: "system_u:system_r:container_t:s0" }, "system_u:system_r:container_t:s0")[2],
    "same",
  );
  assertEquals(labelOf({}, "unconfined")[2], "unset");
});

Deno.test("rlimits are compared as soft and hard", () => {
  const view = viewOf({ limits: { RLIMIT_NOFILE: "1024 4096", RLIMIT_CORE: "0 unlimited" } });
  const infinity = 18446744073709551615n;
  const rlimits = [
    { type: "RLIMIT_NOFILE", soft: 1, hard: 2 },
    { type: "RLIMIT_CORE", soft: 0, hard: infinity },
    { type: "RLIMIT_NOFILE", soft: 1024, hard: 4096 },
  ];
  assertEquals(rlimitFindings(rlimits, view).map(({ name, field, verdict }) => [name, field, verdict]), [
    ["RLIMIT_CORE", "/process/rlimits/1", "same"],
    ["RLIMIT_NOFILE", "/process/rlimits/2", "same"],
  ]);
  assertEquals(rlimitFindings(rlimits.slice(0, 1), view).map(({ verdict }) => verdict), ["unset", "different"]);
  assertEquals(rlimitFindings(undefined, view).map(({ verdict }) => verdict), ["unknown", "unknown"]);
  assertEquals(rlimitFindings(rlimits.slice(0, 1), endedView).map(({ verdict }) => verdict), ["unknown"]);
});
