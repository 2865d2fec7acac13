import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { addressText, keepsAddress, moveNetworkDevice } from "../../../../lib/libcontainer/launch/network_devices.ts";
import { runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import { type Network, networkOf } from "../../host/network.ts";
import { withHost } from "../../host/with_host.ts";

const OURS = 4026531838, THEIRS = 4026539999;

/** A process in a network namespace of its own, and a device on the host. */
function prepared(
  host: FakeHost,
): { pid: number; here: Network; there: Network; move: (name?: string) => void; log: string[] } {
  const { runtime, log } = runtimeOn(host);
  const { pid, namespaces } = host.start("init");
  namespaces.set("net", THEIRS);
  const here = networkOf(host, OURS);
  host.self.namespaces.set("net", OURS);
  here.set("eth1", {
    index: 7,
    isUp: true,
    addresses: [
      { bytes: [192, 0, 2, 1], prefixLength: 24, flags: 0x80, scope: 0 },
      { bytes: [10, 0, 0, 1], prefixLength: 8, flags: 0, scope: 0 },
    ],
  });
  here.set("eth2", {
    index: 8,
    isUp: true,
    addresses: [{ bytes: [1, 1, 1, 1], prefixLength: 8, flags: 0x80, scope: 0 }],
  });
  const move = (name?: string) => moveNetworkDevice(runtime, "eth1", { name }, pid);
  return { pid, here, there: networkOf(host, THEIRS), move, log };
}

Deno.test("a device moves with its permanent addresses, gets its new name, and is up", () => {
  withHost((host) => {
    const { here, there, move, log } = prepared(host);
    move("net0");
    assertEquals([...here.keys()], ["eth2"]);
    assertEquals([...there], [["net0", {
      index: 107,
      isUp: true,
      addresses: [{ bytes: [192, 0, 2, 1], prefixLength: 24, flags: 0x80, scope: 0 }],
    }]]);
    assertEquals(log.filter((line) => line.includes("skipping")), [
      "debug: skipping address 10.0.0.1/8 of network device eth1",
    ]);
    assertEquals([host.openFiles, host.self.namespaces.get("net")], [[], OURS]);
  });
});

const failures: readonly {
  name: string;
  prepare: (host: FakeHost, here: Network, there: Network) => void;
  message: string;
  errnoName?: string;
}[] = [
  {
    name: "does not exist",
    prepare: (_, here) => here.delete("eth1"),
    message: "link not found for interface eth1 on runtime namespace: Link not found",
  },
  {
    name: "would have a name that is taken",
    prepare: (_, __, there) => there.set("eth1", { index: 1, isUp: false, addresses: [] }),
    message: "fail to move network device eth1 to network namespace {}: file exists",
    errnoName: "EEXIST",
  },
  {
    name: "cannot be set down",
    prepare: (host) => host.refuse("RTM_NEWLINK eth1", Errno.EPERM),
    message: "fail to set link down: operation not permitted",
    errnoName: "EPERM",
  },
  {
    name: "does not get its address",
    prepare: (host) => host.refuse("RTM_NEWADDR", Errno.EINVAL),
    message: "fail to set up address 192.0.2.1/24 on namespace {}: invalid argument",
    errnoName: "EINVAL",
  },
];

for (const { name, prepare, message, errnoName } of failures) {
  Deno.test(`a device that ${name} is an error with its field`, () => {
    withHost((host) => {
      const { pid, here, there, move } = prepared(host);
      prepare(host, here, there);
      const error = assertThrows(() => move(), RuncError);
      const namespace = `/proc/${pid}/ns/net`;
      const prefix = `error creating network interfaces: move netDevice eth1 to namespace ${namespace}: `;
      assertEquals(error.message, prefix + message.replace("{}", namespace));
      assertEquals([error.field, error.errnoName], ["/linux/netDevices/eth1", errnoName]);
      assertEquals(host.openFiles, []);
    });
  });
}

Deno.test("IPv6 addresses are printed in full; temporary and local ones stay behind", () => {
  const address = { deviceIndex: 1, family: 10, prefixLength: 64, scope: 0, flags: 0x80, address: new Uint8Array(16) };
  address.address.set([0x20, 1, 0xd, 0xb8]);
  assertEquals(addressText(address), "2001:db8:0:0:0:0:0:0/64");
  assertEquals([address, { ...address, flags: 0 }, { ...address, scope: 253 }].map(keepsAddress), [true, false, false]);
});
