/** linux.netDevices: devices that the container takes from the host. The host here is a network namespace of the test's own. */

import { assertEquals, assertMatch } from "@std/assert";
import { type Box, comparing, execute, executors, inBox, type TestConfig } from "./harness.ts";

/** Runs a program, which has to succeed; returns what it printed. */
function must(...argv: readonly string[]): string {
  const { code, stdout, stderr } = execute(argv);
  assertEquals([code, stderr], [0, ""], argv.join(" "));
  return stdout;
}

/** A network namespace that a file stands for, as long as `body` runs. ip-netns(8) would leave a mount of /run/netns. */
function withNamespace(box: Box, name: string, body: (path: string) => void): void {
  const path = `${box.directory}/${name}`;
  Deno.writeTextFileSync(path, "");
  must("/usr/bin/unshare", `--net=${path}`, "true");
  try {
    body(path);
  } finally {
    must("/usr/bin/umount", path);
  }
}

/** Runs ip(8) in a network namespace. */
function ip(path: string, ...args: readonly string[]): string {
  return must("/usr/bin/nsenter", `--net=${path}`, "/usr/sbin/ip", ...args);
}

/** The runtime in `box` then runs where there is a device `test0`, with a fixed hardware address, MTU and addresses. */
function withDevice(box: Box, body: (prefix: readonly string[], path: string) => void): void {
  withNamespace(box, "host", (path) => {
    const host = (...args: readonly string[]) => ip(path, ...args);
    const veth = ["type", "veth", "peer", "name", "test1"];
    host("link", "add", "test0", "address", "02:00:00:00:00:01", "mtu", "1789", ...veth);
    host("link", "set", "test1", "up");
    host("address", "add", "192.0.2.7/24", "dev", "test0");
    host("address", "add", "192.0.2.9/32", "peer", "192.0.2.10/32", "dev", "test0");
    host("address", "add", "127.0.0.33/8", "scope", "host", "dev", "test0");
    host("address", "add", "2001:db8::7/64", "dev", "test0", "nodad");
    // Neither of these goes along.
    host("address", "add", "198.51.100.1/24", "dev", "test0", "valid_lft", "1000", "preferred_lft", "1000");
    host("link", "set", "test0", "up");
    body(["/usr/bin/nsenter", `--net=${path}`], path);
  });
}

const devices = (netDevices: Record<string, { name?: string }>) => (config: TestConfig) => {
  config.linux.netDevices = netDevices;
};

/** What `ip address` says of a device, without what differs from one run to the next. */
function addresses(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("inet") && !line.includes("fe80"))
    .map((line) => line.replace(/ tentative/, "")).sort();
}

comparing(
  "netDevices: a device moves with its name, hardware address, MTU and permanent global addresses, and is up",
  (box) => {
    withDevice(box, (prefix) => {
      const text = box.sh("ip address show dev test0", devices({ test0: {} }), { prefix });
      assertMatch(text, /test0@.*<.*\bUP\b.*mtu 1789/);
      assertMatch(text, /link\/ether 02:00:00:00:00:01/);
      assertEquals(addresses(text), [
        "inet 192.0.2.7/24 brd 192.0.2.255 scope global test0",
        "inet 192.0.2.9/32 scope global test0",
        "inet6 2001:db8::7/64 scope global",
      ]);
    });
  },
);

comparing("netDevices: it has its new name before hooks and sysctls", (box) => {
  withDevice(box, (prefix) => {
    const text = box.sh(
      "cat /proc/sys/net/ipv4/conf/eth7/forwarding; ip link show test0 2>&1 | grep -c 'does not exist\\|can.t find'",
      (config) => {
        devices({ test0: { name: "eth7" } })(config);
        config.linux.sysctl = { "net.ipv4.conf.eth7.forwarding": "1" };
      },
      { prefix },
    );
    assertEquals(text, "1\n1\n");
  });
});

comparing("netDevices: into a namespace that is given, where it stays", (box) => {
  withNamespace(box, "into", (namespace) => {
    withDevice(box, (prefix) => {
      box.sh("true", (config) => {
        devices({ test0: { name: "eth8" } })(config);
        config.linux.namespaces.find(({ type }) => type === "network")!.path = namespace;
      }, { prefix });
      assertMatch(ip(namespace, "address", "show", "dev", "eth8"), /192\.0\.2\.7\/24/);
    });
  });
});

comparing("netDevices: one that is not there, and a name that is taken", (box) => {
  withDevice(box, (prefix, path) => {
    const cases: [Record<string, { name?: string }>, RegExp, string][] = [
      [
        { nothere: {} },
        /move netDevice nothere to namespace \/proc\/\d+\/ns\/net: link not found for interface nothere on runtime namespace: Link not found/,
        "/linux/netDevices/nothere",
      ],
      [
        { test0: { name: "lo" } },
        /fail to move network device test0 to network namespace \/proc\/\d+\/ns\/net: file exists/,
        "/linux/netDevices/test0",
      ],
    ];
    for (const [netDevices, wanted, field] of cases) {
      box.write(devices(netDevices));
      const refused = box.refused(["run", box.id], { prefix });
      assertMatch(refused.msg, wanted);
      assertEquals(refused.field, field);
    }
    // As it was, up and with all of its addresses.
    const left = ip(path, "address", "show", "dev", "test0");
    assertMatch(left, /<.*\bUP\b.*>/);
    assertMatch(left, /inet6 2001:db8::7\/64/);
  });
});

Deno.test("netDevices: without a network namespace they are refused", () => {
  for (const executor of executors) {
    inBox(executor, (box) => {
      const refused = box.runRefused((config) => {
        devices({ test0: {} })(config);
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
      });
      assertEquals(refused.msg, "runc run failed: unable to move network devices without a NET namespace");
    });
  }
});
