/**
 * Converts `linux.resources.blockIO` to files of v1's blkio and v2's io controller.
 *
 * @see Documentation/admin-guide/cgroup-v1/blkio-controller.rst, Documentation/admin-guide/cgroup-v2.rst,
 * Documentation/block/bfq-iosched.rst
 * @module
 */

import type { BlockIoResources, ThrottleDevice, WeightDevice } from "../../specs/config.ts";
import { isGiven, type LimitWrite, type StateNames } from "./limit.ts";

/** The fields in state.json. */
export const blockIoStateNames = {
  values: {
    weight: "blkio_weight",
    leafWeight: "blkio_leaf_weight",
    weightDevice: "blkio_weight_device",
    throttleReadBpsDevice: "blkio_throttle_read_bps_device",
    throttleWriteBpsDevice: "blkio_throttle_write_bps_device",
    throttleReadIOPSDevice: "blkio_throttle_read_iops_device",
    throttleWriteIOPSDevice: "blkio_throttle_write_iops_device",
  },
  pointers: {},
} as const satisfies StateNames<BlockIoResources>;

type Throttle =
  | "throttleReadBpsDevice"
  | "throttleWriteBpsDevice"
  | "throttleReadIOPSDevice"
  | "throttleWriteIOPSDevice";

/** The rates in runc's order: field, v1 file, v2 key in io.max. */
const throttles: readonly (readonly [field: Throttle, v1: string, v2: string])[] = [
  ["throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"],
  ["throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"],
  ["throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"],
  ["throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"],
];

/** The writes for v1. Weights go to CFQ's files if the kernel has them (before 5.0), otherwise to BFQ's. */
export function blockIoLimitsV1(blockIO: BlockIoResources): readonly LimitWrite[] {
  const { weight, leafWeight, weightDevice = [] } = blockIO;
  return [
    ...(isGiven(weight) ? [schedulerWrite("weight", String(weight))] : []),
    ...(isGiven(leafWeight) ? [writeV1("blkio.leaf_weight", String(leafWeight))] : []),
    ...weightDevice.flatMap((device) => [
      ...(isGiven(device.weight) ? [schedulerWrite("weight_device", `${number(device)} ${device.weight}`)] : []),
      ...(isGiven(device.leafWeight)
        ? [writeV1("blkio.leaf_weight_device", `${number(device)} ${device.leafWeight}`)]
        : []),
    ]),
    ...throttles.flatMap(([field, file]) =>
      (blockIO[field] ?? []).map((device) => writeV1(file, `${number(device)} ${device.rate}`))
    ),
  ];
}

function schedulerWrite(name: string, value: string): LimitWrite {
  return { ...writeV1(`blkio.${name}`, value), otherwise: { file: `blkio.bfq.${name}`, value } };
}

function writeV1(file: string, value: string): LimitWrite {
  return { controller: "blkio", file, value };
}

/** The writes for v2. Only BFQ has per-device weights. Leaf weights exist on v1 only. */
export function blockIoLimitsV2(blockIO: BlockIoResources): readonly LimitWrite[] {
  const { weight, weightDevice = [] } = blockIO;
  return [
    ...(isGiven(weight)
      ? [{
        ...writeV2("io.bfq.weight", String(weight)),
        otherwise: { file: "io.weight", value: String(ioWeight(weight)) },
      }]
      : []),
    ...weightDevice.map((device) => ({
      ...writeV2("io.bfq.weight", `${number(device)} ${device.weight ?? 0}`),
      tolerate: ["ENOENT"] as const,
    })),
    ...throttles.flatMap(([field, , key]) =>
      (blockIO[field] ?? []).map((device) => writeV2("io.max", `${number(device)} ${key}=${device.rate}`))
    ),
  ];
}

function writeV2(file: string, value: string): LimitWrite {
  return { controller: "io", file, value };
}

/** Converts a blkio weight (10 to 1000) linearly to an io.weight (1 to 10000). */
export function ioWeight(weight: number): number {
  return 1 + Math.trunc((weight - 10) * 9999 / 990);
}

function number({ major, minor }: WeightDevice | ThrottleDevice): string {
  return `${major}:${minor}`;
}
