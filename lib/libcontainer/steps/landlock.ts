/**
 * Landlock, requested by annotations; runc has no such feature. The process and its descendants can access only the
 * files beneath the listed paths, regardless of file modes. Runs in: init.
 *
 * @see landlock(7)
 * @module
 */

import { AT_FDCWD, openFlag } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { at, buffer, call, slot, step, store, struct } from "../../plan/build.ts";
import type { CallOp, Op, Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import { pointerToken } from "../../specs/problem.ts";
import { RuncError } from "../../errors.ts";

/** LANDLOCK_ACCESS_FS_*, include/uapi/linux/landlock.h */
export const LandlockAccess = {
  EXECUTE: 1 << 0,
  WRITE_FILE: 1 << 1,
  READ_FILE: 1 << 2,
  READ_DIR: 1 << 3,
  REMOVE_DIR: 1 << 4,
  REMOVE_FILE: 1 << 5,
  MAKE_CHAR: 1 << 6,
  MAKE_DIR: 1 << 7,
  MAKE_REG: 1 << 8,
  MAKE_SOCK: 1 << 9,
  MAKE_FIFO: 1 << 10,
  MAKE_BLOCK: 1 << 11,
  MAKE_SYM: 1 << 12,
  REFER: 1 << 13,
  TRUNCATE: 1 << 14,
} as const;

const { EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REFER, TRUNCATE } = LandlockAccess;
const EVERYTHING = Object.values(LandlockAccess).reduce((all, bit) => all | bit);
const READ = READ_FILE | READ_DIR;
/** All rights that a rule for a file may have. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;

type Annotations = Readonly<Record<string, string>>;

const PREFIX = "org.opencontainers.landlock.";

/** The annotations, and the rights that each grants beneath its paths. */
const grants: readonly (readonly [annotation: string, access: number])[] = [
  [`${PREFIX}read`, READ],
  [`${PREFIX}execute`, READ | EXECUTE],
  [`${PREFIX}write`, EVERYTHING & ~EXECUTE],
];

const RULE_PATH_BENEATH = 1;
const ruleset = slot("ruleset");
const handled = slot("handled");

/** Whether any of the annotations is set: all paths that none of them lists are then inaccessible. */
export function asksForLandlock(annotations: Annotations): boolean {
  return Object.keys(annotations).some((name) => name.startsWith(PREFIX));
}

/**
 * All rights that the kernel knows: it rejects a ruleset with unknown ones. Older kernels lack TRUNCATE (before 6.2)
 * and REFER (before 5.19).
 */
function createRuleset(): readonly Op[] {
  const attempt = (rights: number, older: readonly number[]): readonly Op[] => {
    const [next, ...rest] = older;
    const attribute = struct(`{handled_access_fs: 0x${rights.toString(16)}}`, 8, [{ at: 0, size: 8, value: rights }]);
    const create: CallOp = call("landlock_create_ruleset", [attribute, 8, 0], {
      out: ruleset,
      meaning: { "*": "cannot create a Landlock ruleset" },
      hint: {
        EOPNOTSUPP: "Landlock is off on this host: boot with lsm=landlock,...",
        ENOSYS: "the kernel has no Landlock",
      },
      onError: next === undefined ? undefined : [{ errnos: ["EINVAL"], ops: attempt(next, rest) }],
    });
    return [{ op: "add", left: rights, right: 0, out: handled }, create];
  };
  return attempt(EVERYTHING, [EVERYTHING & ~TRUNCATE, EVERYTHING & ~TRUNCATE & ~REFER]);
}

function ruleSteps(annotation: string, path: string, access: number, arch: Arch): Step {
  const O = openFlag(arch);
  const place = slot("path");
  const allowed = slot("allowed");
  // struct landlock_path_beneath_attr is packed: u64 allowed_access, s32 parent_fd.
  const rule = buffer("landlock_path_beneath_attr", 16);
  const add = (rights: number, rest: Partial<CallOp> = {}): readonly Op[] => [
    { op: "and", left: handled, right: rights, out: allowed },
    store(rule, 8, allowed),
    call("landlock_add_rule", [ruleset, RULE_PATH_BENEATH, rule, 0], rest),
  ];
  return step(`allow 0x${access.toString(16)} beneath ${path}`, `/annotations${pointerToken(annotation)}`, [
    call("openat", [AT_FDCWD, path, O.O_PATH | O.O_CLOEXEC, 0], {
      out: place,
      meaning: { "*": `cannot open ${path} for ${annotation}` },
    }),
    store(at(rule, 8), 4, place),
    // EINVAL: a file, for which rights of directories are invalid.
    ...add(access, { onError: [{ errnos: ["EINVAL"], ops: add(access & OF_FILES) }] }),
    call("close", [place]),
  ]);
}

/**
 * Creates the ruleset of a config's annotations and leaves it open, so that its errors are errors of `create`. No steps
 * without annotations.
 *
 * @throws {RuncError} `config-invalid` for a process that may gain privileges: the kernel would refuse it, but too late
 * to report.
 */
export function landlockSteps(annotations: Annotations, process: Process, arch: Arch): readonly Step[] {
  if (!asksForLandlock(annotations)) return [];
  if (!process.noNewPrivileges) {
    throw new RuncError("config-invalid", `${PREFIX}* requires process.noNewPrivileges`, {
      field: "/process/noNewPrivileges",
    });
  }
  refuseUnknown(annotations);
  const rules = grants.flatMap(([annotation, access]) =>
    (annotations[annotation] ?? "").split(":").filter((path) => path !== "").map((path) =>
      ruleSteps(annotation, path, access, arch)
    )
  );
  return [step("make a Landlock ruleset, which allows nothing", "/annotations", createRuleset()), ...rules];
}

/** A misspelt name would restrict more than intended, and a relative path something else. */
function refuseUnknown(annotations: Annotations): void {
  for (const [name, paths] of Object.entries(annotations)) {
    if (!name.startsWith(PREFIX)) continue;
    const field = `/annotations${pointerToken(name)}`;
    if (!grants.some(([known]) => known === name)) {
      throw new RuncError("config-invalid", `unknown annotation ${name}`, {
        field,
        hint: `use one of ${grants.map(([known]) => known).join(", ")}`,
      });
    }
    const relative = paths.split(":").find((path) => path !== "" && !path.startsWith("/"));
    if (relative === undefined) continue;
    throw new RuncError("config-invalid", `${name}: ${JSON.stringify(relative)} is not an absolute path`, { field });
  }
}

/** Restricts the calling thread with the ruleset of {@link landlockSteps}. */
export function restrictSteps(annotations: Annotations): readonly Step[] {
  if (!asksForLandlock(annotations)) return [];
  return [
    step("be restricted by Landlock from here on", "/annotations", [
      call("landlock_restrict_self", [ruleset, 0], { meaning: { "*": "cannot restrict the process with Landlock" } }),
      call("close", [ruleset]),
    ]),
  ];
}
