/**
 * CRIU's RPC messages, with the fields that this program uses. Pure.
 *
 * Source: images/rpc.proto, CRIU 4.2. The names are those of that file.
 *
 * @see https://criu.org/RPC
 * @module
 */

import { decodeMessage, encodeMessage, type MessageOf, type MessageSpec } from "./protobuf.ts";

/** criu_req_type. */
export const ReqType = {
  EMPTY: 0,
  DUMP: 1,
  RESTORE: 2,
  CHECK: 3,
  PRE_DUMP: 4,
  PAGE_SERVER: 5,
  NOTIFY: 6,
  CPUINFO_DUMP: 7,
  CPUINFO_CHECK: 8,
  FEATURE_CHECK: 9,
  VERSION: 10,
  WAIT_PID: 11,
  PAGE_SERVER_CHLD: 12,
  SINGLE_PRE_DUMP: 13,
} as const;

/** The name of a {@link ReqType}; the number where it has none. */
export function reqTypeName(type: number): string {
  return Object.entries(ReqType).find(([, number]) => number === type)?.[0] ?? String(type);
}

/** criu_cg_mode: how CRIU treats the cgroups of what it dumps or restores. */
export const CgMode = { IGNORE: 0, CG_NONE: 1, PROPS: 2, SOFT: 3, FULL: 4, STRICT: 5, DEFAULT: 6 } as const;

const pageServerInfo = {
  address: { number: 1, type: "string" },
  port: { number: 2, type: "int32" },
} as const satisfies MessageSpec;

const extMountMap = {
  key: { number: 1, type: "string", label: "required" },
  val: { number: 2, type: "string", label: "required" },
} as const satisfies MessageSpec;

const joinNamespace = {
  ns: { number: 1, type: "string", label: "required" },
  ns_file: { number: 2, type: "string", label: "required" },
} as const satisfies MessageSpec;

const inheritFd = {
  key: { number: 1, type: "string", label: "required" },
  fd: { number: 2, type: "int32", label: "required" },
} as const satisfies MessageSpec;

const cgroupRoot = {
  ctrl: { number: 1, type: "string" },
  path: { number: 2, type: "string", label: "required" },
} as const satisfies MessageSpec;

const opts = {
  images_dir_fd: { number: 1, type: "int32", label: "required" },
  pid: { number: 2, type: "int32" },
  leave_running: { number: 3, type: "bool" },
  ext_unix_sk: { number: 4, type: "bool" },
  tcp_established: { number: 5, type: "bool" },
  evasive_devices: { number: 6, type: "bool" },
  shell_job: { number: 7, type: "bool" },
  file_locks: { number: 8, type: "bool" },
  log_level: { number: 9, type: "int32" },
  log_file: { number: 10, type: "string" },
  ps: { number: 11, type: pageServerInfo },
  notify_scripts: { number: 12, type: "bool" },
  root: { number: 13, type: "string" },
  parent_img: { number: 14, type: "string" },
  track_mem: { number: 15, type: "bool" },
  auto_dedup: { number: 16, type: "bool" },
  work_dir_fd: { number: 17, type: "int32" },
  link_remap: { number: 18, type: "bool" },
  ext_mnt: { number: 23, type: extMountMap, label: "repeated" },
  manage_cgroups: { number: 24, type: "bool" },
  cg_root: { number: 25, type: cgroupRoot, label: "repeated" },
  rst_sibling: { number: 26, type: "bool" },
  inherit_fd: { number: 27, type: inheritFd, label: "repeated" },
  manage_cgroups_mode: { number: 34, type: "int32" },
  external: { number: 37, type: "string", label: "repeated" },
  empty_ns: { number: 38, type: "uint32" },
  join_ns: { number: 39, type: joinNamespace, label: "repeated" },
  freeze_cgroup: { number: 44, type: "string" },
  tcp_skip_in_flight: { number: 46, type: "bool" },
  lazy_pages: { number: 48, type: "bool" },
  orphan_pts_master: { number: 50, type: "bool" },
  config_file: { number: 51, type: "string" },
  lsm_profile: { number: 53, type: "string" },
  lsm_mount_context: { number: 63, type: "string" },
  unprivileged: { number: 67, type: "bool" },
} as const satisfies MessageSpec;

const features = {
  mem_track: { number: 1, type: "bool" },
  lazy_pages: { number: 2, type: "bool" },
} as const satisfies MessageSpec;

const req = {
  type: { number: 1, type: "int32", label: "required" },
  opts: { number: 2, type: opts },
  notify_success: { number: 3, type: "bool" },
  keep_open: { number: 4, type: "bool" },
  features: { number: 5, type: features },
} as const satisfies MessageSpec;

const dumpResp = { restored: { number: 1, type: "bool" } } as const satisfies MessageSpec;

const restoreResp = { pid: { number: 1, type: "int32", label: "required" } } as const satisfies MessageSpec;

const notify = {
  script: { number: 1, type: "string" },
  pid: { number: 2, type: "int32" },
} as const satisfies MessageSpec;

const version = {
  major_number: { number: 1, type: "int32", label: "required" },
  minor_number: { number: 2, type: "int32", label: "required" },
  gitid: { number: 3, type: "string" },
  sublevel: { number: 4, type: "int32" },
} as const satisfies MessageSpec;

const resp = {
  type: { number: 1, type: "int32", label: "required" },
  success: { number: 2, type: "bool", label: "required" },
  dump: { number: 3, type: dumpResp },
  restore: { number: 4, type: restoreResp },
  notify: { number: 5, type: notify },
  cr_errno: { number: 7, type: "int32" },
  features: { number: 8, type: features },
  cr_errmsg: { number: 9, type: "string" },
  version: { number: 10, type: version },
} as const satisfies MessageSpec;

/** criu_opts: everything that a dump or a restore depends on. */
export type CriuOpts = MessageOf<typeof opts>;
/** criu_req: a request, or the answer to a notification. */
export type CriuReq = MessageOf<typeof req>;
/** criu_resp: a response, or a notification. */
export type CriuResp = MessageOf<typeof resp>;
/** criu_features: what CRIU and the kernel can do. */
export type CriuFeatures = MessageOf<typeof features>;
/** criu_notify: a moment of a dump or a restore. */
export type CriuNotify = MessageOf<typeof notify>;
/** criu_version. */
export type CriuVersion = MessageOf<typeof version>;

/** The bytes of a request. */
export const encodeReq = (value: CriuReq): Uint8Array<ArrayBuffer> => encodeMessage(req, value);

/** A response from its bytes. @throws {RuncError} `protocol`. */
export const decodeResp = (bytes: Uint8Array<ArrayBuffer>): CriuResp => decodeMessage(resp, bytes);
