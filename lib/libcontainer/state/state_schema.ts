/**
 * The types of what this program reads in state.json, as a table. Other fields may be anything: they are kept as they
 * are. Pure.
 *
 * @module
 */

import { blockIoStateNames } from "../../cgroups/limits/block_io.ts";
import { cpuStateNames } from "../../cgroups/limits/cpu.ts";
import { memoryStateNames } from "../../cgroups/limits/memory.ts";
import { pidsStateNames } from "../../cgroups/limits/pids.ts";
import { hookNames } from "../../specs/config.ts";
import { type FieldRules, processFields, resourcesFields, type Rule } from "../../specs/schema.ts";

const strings: Rule = { list: "string" };
const string = { required: "string" } as const;
const int = { required: "int" } as const;
const words: Rule = { list: "uint64" };

const idMappings: Rule = { list: { fields: { container_id: int, host_id: int, size: int } } };

const mount: FieldRules = {
  source: string,
  destination: string,
  device: string,
  flags: "int",
  cleared_flags: "int",
  propagation_flags: { list: "int" },
  data: "string",
  rec_attr: {
    fields: {
      Attr_set: { required: "uint" },
      Attr_clr: { required: "uint" },
      Propagation: { required: "uint" },
      Userns_fd: { required: "uint" },
    },
  },
  extensions: "int",
  id_mapping: {
    fields: { recursive: "boolean", userns_path: "string", uid_mappings: idMappings, gid_mappings: idMappings },
  },
};

const deviceRule: FieldRules = {
  type: { required: "int32" },
  major: int,
  minor: int,
  permissions: string,
  allow: { required: "boolean" },
};

const device: FieldRules = {
  ...deviceRule,
  path: string,
  file_mode: { required: "uint32" },
  uid: "uint32",
  gid: "uint32",
};

const hook: FieldRules = { path: string, args: strings, env: strings, dir: "string", timeout: "int64" };

const rule: FieldRules = {
  name: string,
  action: int,
  errnoRet: "uint",
  args: {
    list: {
      fields: { index: int, value: { required: "uint64" }, value_two: { required: "uint64" }, op: int },
    },
  },
};

const seccomp: FieldRules = {
  default_action: int,
  architectures: strings,
  flags: strings,
  syscalls: { list: { fields: rule } },
  default_errno_ret: "uint",
  listener_path: "string",
  listener_metadata: "string",
};

/** A part of linux.resources under its names in state.json. */
function renamed(
  fields: FieldRules,
  { values, pointers }: { readonly values: object; readonly pointers: object },
): FieldRules {
  const names: Readonly<Record<string, string>> = { ...values, ...pointers };
  return Object.fromEntries(Object.entries(names).map(([field, name]) => [name, fields[field]!]));
}

const { memory, cpu, pids, blockIO } = resourcesFields;

const cgroup: FieldRules = {
  name: "string",
  parent: "string",
  path: "string",
  scope_prefix: "string",
  devices: { list: { fields: deviceRule } },
  Systemd: "boolean",
  Rootless: "boolean",
  owner_uid: "uint32",
  ...renamed(memory.fields, memoryStateNames),
  ...renamed(cpu.fields, cpuStateNames),
  ...renamed(pids.fields, pidsStateNames),
  ...renamed(blockIO.fields, blockIoStateNames),
  hugetlb_limit: { list: { fields: { page_size: string, limit: { required: "uint64" } } } },
  net_prio_ifpriomap: { list: { fields: { interface: string, priority: { required: "uint32" } } } },
  net_cls_classid_u: "uint32",
  rdma: { map: { fields: { hca_handles: "uint32", hca_objects: "uint32" } } },
  unified: { map: "string" },
};

const config: FieldRules = {
  rootfs: string,
  umask: "uint32",
  readonlyfs: "boolean",
  rootPropagation: "int",
  mounts: { list: { fields: mount } },
  devices: { list: { fields: device } },
  namespaces: { list: { fields: { type: string, path: "string" } } },
  cgroups: { fields: cgroup },
  uid_mappings: idMappings,
  gid_mappings: idMappings,
  mask_paths: strings,
  readonly_paths: strings,
  seccomp: { fields: seccomp },
  Hooks: { fields: Object.fromEntries(hookNames.map((name) => [name, { list: { fields: hook } }])) },
  version: "string",
  labels: strings,
  no_new_keyring: "boolean",
  intel_rdt: {
    fields: {
      closID: "string",
      schemata: strings,
      l3_cache_schema: "string",
      memBwSchema: "string",
      enableMonitoring: "boolean",
    },
  },
  memory_policy: { fields: { mode: "uint", flags: "uint", nodes: words } },
  rootless_euid: "boolean",
  rootless_cgroups: "boolean",
  personality: { fields: { domain: int } },
  capabilities: {
    fields: { Bounding: strings, Effective: strings, Inheritable: strings, Permitted: strings, Ambient: strings },
  },
  apparmor_profile: "string",
  process_label: "string",
  oom_score_adj: "int",
  no_new_privileges: "boolean",
  scheduler: processFields.scheduler,
  io_priority: processFields.ioPriority,
  exec_cpu_affinity: { fields: { Initial: words, Final: words } },
};

/** What every state has. */
export const stateRule: Rule = {
  fields: {
    id: string,
    init_process_pid: { required: "int32" },
    // 0 is left out: a restore has no process yet.
    init_process_start: "uint",
    created: string,
    config: { required: { fields: config } },
    cgroup_paths: { map: "string" },
    namespace_paths: { required: { map: "string" } },
    external_descriptors: strings,
    intel_rdt_path: "string",
    intel_rdt_mon_path: "string",
  },
};
