/**
 * The schema of config.json as one table: the name and type of every field.
 *
 * The compiler checks it against the types of config.ts. A field that is missing here, has another name or type, or is
 * required in only one of the two does not compile.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/specs-go/config.go
 * @module
 */

import * as spec from "./config.ts";

/** The range of each integer type, by its name in the specification's Go code. */
export const integerRanges = {
  uint16: [0, 0xffff],
  int32: [-0x80000000, 0x7fffffff],
  uint32: [0, 0xffffffff],
  // Go's int, uint and int64 for fields where no sensible value needs a bigint: device numbers, seconds, characters.
  int: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint: [0, Number.MAX_SAFE_INTEGER],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0, 2n ** 64n - 1n],
} as const;

/** An integer type. */
export type IntegerType = keyof typeof integerRanges;

type WideInteger = "int64" | "uint64";

/** The type of one value. `foreign` is an object for another platform, which is ignored. */
export type Rule =
  | "string"
  | "boolean"
  | "foreign"
  | IntegerType
  | { readonly list: Rule }
  | { readonly map: Rule }
  | { readonly fields: FieldRules };

/** A field that the specification requires. If it is absent, the parser fills in the zero value. */
export interface RequiredRule {
  readonly required: Rule;
}

/** The fields of an object by name. */
export type FieldRules = Readonly<Record<string, Rule | RequiredRule>>;

/** The rule that matches the TypeScript type `T`. */
type RuleFor<T> = [T] extends [string] ? "string"
  : [T] extends [boolean] ? "boolean"
  : [T] extends [number] ? Exclude<IntegerType, WideInteger>
  : [T] extends [spec.Integer64] ? WideInteger
  : [T] extends [readonly (infer Item)[]] ? { readonly list: RuleFor<Item> }
  : string extends keyof T ? (unknown extends T[string] ? "foreign" : { readonly map: RuleFor<T[string]> })
  : { readonly fields: FieldsOf<T> };

type FieldsOf<T> = {
  readonly [Key in keyof T]-?: undefined extends T[Key] ? RuleFor<Exclude<T[Key], undefined>>
    : { readonly required: RuleFor<T[Key]> };
};

const strings = { list: "string" } as const;
const string = { required: "string" } as const;

const idMappings = {
  list: {
    fields: { containerID: { required: "uint32" }, hostID: { required: "uint32" }, size: { required: "uint32" } },
  },
} as const satisfies RuleFor<readonly spec.IdMapping[]>;

const user = {
  uid: { required: "uint32" },
  gid: { required: "uint32" },
  umask: "uint32",
  additionalGids: { list: "uint32" },
  username: "string",
} as const satisfies FieldsOf<spec.User>;

/** The fields of `process`, also used for `exec --process`. */
export const processFields = {
  terminal: "boolean",
  consoleSize: { fields: { height: { required: "uint" }, width: { required: "uint" } } },
  user: { required: { fields: user } },
  args: strings,
  commandLine: "string",
  env: strings,
  cwd: string,
  capabilities: {
    fields: { bounding: strings, effective: strings, inheritable: strings, permitted: strings, ambient: strings },
  },
  rlimits: { list: { fields: { type: string, hard: { required: "uint64" }, soft: { required: "uint64" } } } },
  noNewPrivileges: "boolean",
  apparmorProfile: "string",
  oomScoreAdj: "int",
  scheduler: {
    fields: {
      policy: string,
      nice: "int32",
      priority: "int32",
      flags: strings,
      runtime: "uint64",
      deadline: "uint64",
      period: "uint64",
    },
  },
  selinuxLabel: "string",
  ioPriority: { fields: { class: string, priority: { required: "int" } } },
  execCPUAffinity: { fields: { initial: "string", final: "string" } },
} as const satisfies FieldsOf<spec.Process>;

const hooks = {
  list: { fields: { path: string, args: strings, env: strings, timeout: "int" } },
} as const satisfies RuleFor<readonly spec.Hook[]>;

const hooksFields = Object.fromEntries(spec.hookNames.map((name) => [name, hooks])) as Record<
  spec.HookName,
  typeof hooks
>;

const throttleDevices = {
  list: { fields: { major: { required: "int" }, minor: { required: "int" }, rate: { required: "uint64" } } },
} as const satisfies RuleFor<readonly spec.ThrottleDevice[]>;

const blockIoFields = {
  weight: "uint16",
  leafWeight: "uint16",
  weightDevice: {
    list: {
      fields: { major: { required: "int" }, minor: { required: "int" }, weight: "uint16", leafWeight: "uint16" },
    },
  },
  throttleReadBpsDevice: throttleDevices,
  throttleWriteBpsDevice: throttleDevices,
  throttleReadIOPSDevice: throttleDevices,
  throttleWriteIOPSDevice: throttleDevices,
} as const satisfies FieldsOf<spec.BlockIoResources>;

/** The fields of `linux.resources`, also used for `update --resources`. */
export const resourcesFields = {
  devices: {
    list: {
      fields: { allow: { required: "boolean" }, type: "string", major: "int", minor: "int", access: "string" },
    },
  },
  memory: {
    fields: {
      limit: "int64",
      reservation: "int64",
      swap: "int64",
      kernel: "int64",
      kernelTCP: "int64",
      swappiness: "uint64",
      disableOOMKiller: "boolean",
      useHierarchy: "boolean",
      checkBeforeUpdate: "boolean",
    },
  },
  cpu: {
    fields: {
      shares: "uint64",
      quota: "int64",
      burst: "uint64",
      period: "uint64",
      realtimeRuntime: "int64",
      realtimePeriod: "uint64",
      cpus: "string",
      mems: "string",
      idle: "int64",
    },
  },
  pids: { fields: { limit: "int64" } },
  blockIO: { fields: blockIoFields },
  hugepageLimits: { list: { fields: { pageSize: string, limit: { required: "uint64" } } } },
  network: {
    fields: {
      classID: "uint32",
      priorities: { list: { fields: { name: string, priority: { required: "uint32" } } } },
    },
  },
  rdma: { map: { fields: { hcaHandles: "uint32", hcaObjects: "uint32" } } },
  unified: { map: "string" },
} as const satisfies FieldsOf<spec.Resources>;

const seccompFields = {
  defaultAction: string,
  defaultErrnoRet: "uint",
  architectures: strings,
  flags: strings,
  listenerPath: "string",
  listenerMetadata: "string",
  syscalls: {
    list: {
      fields: {
        names: { required: strings },
        action: string,
        errnoRet: "uint",
        args: {
          list: {
            fields: { index: { required: "uint" }, value: { required: "uint64" }, valueTwo: "uint64", op: string },
          },
        },
      },
    },
  },
} as const satisfies FieldsOf<spec.Seccomp>;

const linuxFields = {
  uidMappings: idMappings,
  gidMappings: idMappings,
  sysctl: { map: "string" },
  resources: { fields: resourcesFields },
  cgroupsPath: "string",
  namespaces: { list: { fields: { type: string, path: "string" } } },
  devices: {
    list: {
      fields: {
        path: string,
        type: string,
        major: { required: "int" },
        minor: { required: "int" },
        fileMode: "uint32",
        uid: "uint32",
        gid: "uint32",
      },
    },
  },
  netDevices: { map: { fields: { name: "string" } } },
  seccomp: { fields: seccompFields },
  rootfsPropagation: "string",
  maskedPaths: strings,
  readonlyPaths: strings,
  mountLabel: "string",
  intelRdt: {
    fields: {
      closID: "string",
      schemata: strings,
      l3CacheSchema: "string",
      memBwSchema: "string",
      enableMonitoring: "boolean",
      enableCMT: "boolean",
      enableMBM: "boolean",
    },
  },
  memoryPolicy: { fields: { mode: string, nodes: string, flags: strings } },
  personality: { fields: { domain: string, flags: strings } },
  timeOffsets: { map: { fields: { secs: "int", nanosecs: "uint32" } } },
} as const satisfies FieldsOf<spec.Linux>;

/** The fields of config.json. */
export const configFields = {
  ociVersion: string,
  process: { fields: processFields },
  root: { fields: { path: string, readonly: "boolean" } },
  hostname: "string",
  domainname: "string",
  mounts: {
    list: {
      fields: {
        destination: string,
        type: "string",
        source: "string",
        options: strings,
        uidMappings: idMappings,
        gidMappings: idMappings,
      },
    },
  },
  hooks: { fields: hooksFields },
  annotations: { map: "string" },
  linux: { fields: linuxFields },
  solaris: "foreign",
  windows: "foreign",
  vm: "foreign",
  zos: "foreign",
  freebsd: "foreign",
} as const satisfies FieldsOf<spec.Config>;
