import { assertEquals, assertThrows } from "@std/assert";
import {
  allowsAll,
  containerDeviceFilter,
  type DeviceFilter,
  formatRule,
  parseDevicesList,
  sameFilter,
  type SpecDeviceRule,
  transition,
} from "../../../../lib/cgroups/devices/rules.ts";
import { RuncError } from "../../../../lib/errors.ts";

const denyAll: SpecDeviceRule = { allow: false, access: "rwm" };
const allowAll: SpecDeviceRule = { allow: true, access: "rwm" };

/** What is always allowed, in the controller's order. */
const usual = [
  "b *:* m",
  "c *:* m",
  "c 1:3 rwm",
  "c 1:5 rwm",
  "c 1:7 rwm",
  "c 1:8 rwm",
  "c 1:9 rwm",
  "c 5:0 rwm",
  "c 5:2 rwm",
  "c 10:200 rwm",
  "c 136:* rwm",
];
const newCgroup = parseDevicesList("a *:* rwm\n");

/** The writes that make a new cgroup's filter this one. */
function writes(filter: DeviceFilter, from: DeviceFilter = newCgroup): readonly string[] {
  return transition(from, filter).map((rule) => `${rule.allow ? "allow" : "deny"} ${formatRule(rule)}`);
}

Deno.test("containerDeviceFilter() allows the usual devices whatever the rules are", () => {
  const wanted = ["deny a *:* rwm", ...usual.map((rule) => `allow ${rule}`)];
  for (const rules of [[], [denyAll], [allowAll, denyAll], [{ ...denyAll, type: "a", major: -1, minor: -1 }]]) {
    assertEquals(writes(containerDeviceFilter(rules)), wanted);
  }
  assertEquals(writes(containerDeviceFilter([allowAll])), ["allow a *:* rwm"]);
  assertEquals(allowsAll(containerDeviceFilter([denyAll, allowAll])), true);
});

Deno.test("containerDeviceFilter() adds up what is allowed, and takes back what is denied later", () => {
  const rules: readonly SpecDeviceRule[] = [
    denyAll,
    { allow: true, type: "b", major: 8, minor: 0, access: "r" },
    { allow: true, type: "b", major: 8, minor: 0, access: "wm" },
    { allow: true, type: "c", major: 4, access: "rw" },
    { allow: false, type: "b", major: 8, minor: 0, access: "w" },
    { allow: true, type: "c", major: 7, minor: 7, access: "r" },
    { allow: false, type: "c", major: 7, minor: 7, access: "rw" },
    { allow: false, type: "c", major: 9, minor: 9, access: "rwm" },
  ];
  const extra = writes(containerDeviceFilter(rules)).filter((write) => !usual.includes(write.replace("allow ", "")));
  assertEquals(extra, ["deny a *:* rwm", "allow c 4:* rw", "allow b 8:0 rm"]);
});

Deno.test("containerDeviceFilter() keeps exceptions to allowing all", () => {
  const filter = containerDeviceFilter([allowAll, { allow: false, type: "b", major: 8, access: "w" }]);
  assertEquals(writes(filter), ["allow a *:* rwm", "deny b 8:* w"]);
  assertEquals(allowsAll(filter), false);
});

Deno.test("containerDeviceFilter() refuses what cannot be", () => {
  const cases: readonly [rules: readonly SpecDeviceRule[], message: string, field: string][] = [
    [[denyAll, { allow: true }], "device access at 1 field cannot be empty", "/1/access"],
    [[{ allow: true, access: "" }], "device access at 0 field cannot be empty", "/0/access"],
    [[{ allow: true, access: "x" }], 'invalid device access "x"', "/0/access"],
    [[{ allow: true, type: "p", access: "r" }], 'invalid cgroup device type "p"', "/0/type"],
    [[{ allow: true, type: "c", major: 2 ** 32, access: "r" }], "invalid device major number 4294967296", "/0/major"],
    [[{ allow: true, type: "c", minor: -2, access: "r" }], "invalid device minor number -2", "/0/minor"],
    [
      [denyAll, { allow: true, type: "c", major: 1, access: "rwm" }, {
        allow: false,
        type: "c",
        major: 1,
        minor: 3,
        access: "w",
      }],
      "requested rule [c 1:3 w] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [c 1:* rwm])",
      "/2",
    ],
    [
      [allowAll, { allow: false, type: "c", access: "r" }],
      "requested rule [c 1:3 rwm] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [c *:* r])",
      "",
    ],
  ];
  for (const [rules, message, field] of cases) {
    const error = assertThrows(() => containerDeviceFilter(rules), RuncError);
    assertEquals([error.code, error.message, error.field], [
      "config-invalid",
      message,
      `/linux/resources/devices${field}`,
    ]);
  }
});

Deno.test("containerDeviceFilter() takes back a part that the wildcard does not have", () => {
  const rules: readonly SpecDeviceRule[] = [
    denyAll,
    { allow: true, type: "c", major: 1, access: "r" },
    { allow: false, type: "c", major: 1, minor: 11, access: "w" },
    { allow: false, type: "b", major: 1, minor: 11, access: "r" },
    { allow: false, type: "c", major: 1, access: "r" },
  ];
  assertEquals(sameFilter(containerDeviceFilter(rules), containerDeviceFilter([denyAll])), true);
});

Deno.test("transition() writes only the difference between two lists, drops first", () => {
  const from = parseDevicesList("c 1:3 rwm\nc 1:5 rw\nb *:* m\n");
  const to = parseDevicesList("c 1:3 r\nc 1:5 rwm\nb *:* m\nc 1:7 r\n");
  assertEquals(writes(to, from), ["deny c 1:3 wm", "allow c 1:5 m", "allow c 1:7 r"]);
  assertEquals(writes(to, to), []);
  // What a cgroup that allows all denies cannot be read back, so it starts over.
  assertEquals(writes(newCgroup, newCgroup), ["allow a *:* rwm"]);
});

Deno.test("parseDevicesList() refuses what the kernel does not write", () => {
  for (const line of ["x 1:3 rwm", "c 1:3", "c 1 rwm", "c 1:3 rwx"]) {
    assertThrows(() => parseDevicesList(`${line}\n`), RuncError, `malformed devices.list rule "${line}"`);
  }
  assertEquals(parseDevicesList(""), { allowsByDefault: false, exceptions: [] });
});
