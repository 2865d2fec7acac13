/**
 * linux.netDevices: moves devices of the host into the container's network namespace. Runs in: parent, while init
 * waits.
 *
 * Nothing here moves them back: the kernel does it when the namespace ends, or the namespace's owner.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#network-devices
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { open } from "../../ffi/files.ts";
import { type DeviceAddress, IFA_F_PERMANENT, RouteSocket, RT_SCOPE_UNIVERSE } from "../../ffi/netlink.ts";
import type { NetDevice } from "../../specs/config.ts";
import { pointerToken } from "../../specs/problem.ts";
import type { Runtime } from "../runtime.ts";

/** Runs `work`; its error starts with `what`. */
function doing<Result>(what: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw error instanceof RuncError ? error.within(what) : error;
  }
}

/**
 * Whether to move an address with its device: it was configured, and its scope is global. rtnetlink(7), IFA_F_PERMANENT
 */
export function keepsAddress({ flags, scope }: DeviceAddress): boolean {
  return (flags & IFA_F_PERMANENT) !== 0 && scope === RT_SCOPE_UNIVERSE;
}

/** `192.0.2.1/24`, as ip(8) prints it; IPv6 addresses are not abbreviated. */
export function addressText({ address, prefixLength }: DeviceAddress): string {
  const isShort = address.length === 4;
  const parts = isShort
    ? [...address].map(String)
    : Array.from({ length: 8 }, (_, index) => ((address[2 * index]! << 8) | address[2 * index + 1]!).toString(16));
  return `${parts.join(isShort ? "." : ":")}/${prefixLength}`;
}

/**
 * The kernel renames a device after moving it: if the name is taken, the device is lost with the namespace.
 * net/core/rtnetlink.c, do_setlink()
 */
function refuseTakenName(container: RouteSocket, name: string): void {
  if (!container.hasDevice(name)) return;
  throw new RuncError("syscall-failed", "file exists", {
    errno: 17,
    errnoName: "EEXIST",
    hint: `the container's network namespace already has a device ${name}`,
  });
}

function move(
  runtime: Runtime,
  name: string,
  device: NetDevice,
  namespace: Fd,
  sockets: { readonly host: RouteSocket; readonly container: RouteSocket },
): void {
  const { host, container } = sockets;
  const path = namespace.label;
  const newName = device.name || name;
  runtime.log("debug", `attaching network device ${name} as ${newName} to network namespace ${path}`);
  const index = doing(
    `link not found for interface ${name} on runtime namespace`,
    () => host.deviceIndex(name),
  );
  const moving = `fail to move network device ${name} to network namespace ${path}`;
  // Checked before the device leaves the host.
  doing(moving, () => refuseTakenName(container, newName));
  // The addresses are lost by the move; IPv6 addresses already by setting the device down.
  const addresses = doing("fail to get ip addresses", () => host.addresses(index));
  // The kernel renames only devices that are down, and the host must stop using it.
  doing("fail to set link down", () => host.setUp(index, false));
  doing(moving, () => host.move(index, namespace, newName));
  // The device gets another index if its own is in use in the namespace.
  const inside = doing(
    `link not found for interface ${newName} on namespace ${path} `,
    () => container.deviceIndex(newName),
  );
  for (const address of addresses) {
    if (!keepsAddress(address)) {
      runtime.log("debug", `skipping address ${addressText(address)} of network device ${name}`);
      continue;
    }
    doing(
      `fail to set up address ${addressText(address)} on namespace ${path}`,
      () => container.addAddress(inside, address),
    );
  }
  doing(`fail to set up interface ${newName} on namespace ${path}`, () => container.setUp(inside, true));
}

/**
 * Moves a device into the network namespace of process `pid`, with its permanent global addresses and optionally a new
 * name, and brings it up.
 *
 * @throws {RuncError} `syscall-failed` with the device's field.
 */
export function moveNetworkDevice(runtime: Runtime, name: string, device: NetDevice, pid: number): void {
  const { kernel } = runtime;
  using namespace = open(kernel, `/proc/${pid}/ns/net`, 0);
  using host = RouteSocket.open(kernel);
  using container = RouteSocket.open(kernel, namespace);
  try {
    move(runtime, name, device, namespace, { host, container });
  } catch (cause) {
    if (!(cause instanceof RuncError)) throw cause;
    const why = cause.within(
      `error creating network interfaces: move netDevice ${name} to namespace ${namespace.label}`,
    );
    throw new RuncError(why.code, why.message, { ...why, field: `/linux/netDevices${pointerToken(name)}`, cause });
  }
}
