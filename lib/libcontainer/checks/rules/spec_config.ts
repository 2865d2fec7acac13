/**
 * Rules of the specification for the config as a whole, `hooks` and `annotations`.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 * @module
 */

import { type HookName, hookNames } from "../../../specs/config.ts";
import { OCI_VERSION } from "../../../specs/state.ts";
import { quote } from "../../config/validate/facts.ts";
import type { CheckRule } from "../rule.ts";

/** https://semver.org, with what may follow the three numbers. */
const SEMVER = /^(\d+)\.(\d+)\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;
const [, , SUPPORTED_MINOR = ""] = SEMVER.exec(OCI_VERSION) ?? [];

/** __NEW_UTS_LEN, include/uapi/linux/utsname.h */
const NAME_LIMIT = 64;

/** Rules for the config as a whole. */
export const configRules: readonly CheckRule[] = [
  {
    id: "oci-version",
    severity: "problem",
    field: "",
    finds: "an `ociVersion` that is missing, is no semantic version, or has a major version other than 1",
    why: "the version says how the rest of the file is to be read; other runtimes and engines refuse the bundle",
    fix: `set ociVersion to ${OCI_VERSION}`,
    *find({ ociVersion: found }) {
      if (SEMVER.exec(found)?.[1] === "1") return;
      const message = found === "" ? "ociVersion is missing" : `ociVersion ${quote(found)} is not a version 1.x.y`;
      yield { at: "/ociVersion", found: found || undefined, wanted: OCI_VERSION, message };
    },
  },
  {
    id: "oci-version-newer",
    severity: "warning",
    field: "",
    finds: `an \`ociVersion\` above ${OCI_VERSION}`,
    why: "fields of a newer specification are ignored",
    fix: `make sure that the config uses only fields of ${OCI_VERSION}`,
    *find({ ociVersion: found }) {
      const [, major, minor] = SEMVER.exec(found) ?? [];
      if (major !== "1" || Number(minor) <= Number(SUPPORTED_MINOR)) return;
      const message = `ociVersion ${found} is newer than ${OCI_VERSION}, which this runtime supports`;
      yield { at: "/ociVersion", found, wanted: `at most ${OCI_VERSION}`, message };
    },
  },
  {
    id: "root-path-empty",
    severity: "problem",
    field: "root",
    finds: "an empty `root.path`",
    why: "the bundle itself would be the root file system, config.json included",
    fix: "set root.path to the directory with the root file system, usually rootfs",
    *find({ root }) {
      if (root?.path === "") yield { at: "/root/path", wanted: "a directory", message: "root.path is empty" };
    },
  },
  {
    id: "name-length",
    severity: "problem",
    field: "",
    finds: `a \`hostname\` or \`domainname\` of more than ${NAME_LIMIT} bytes`,
    why: "sethostname(2) and setdomainname(2) fail with EINVAL",
    fix: "choose a shorter name",
    *find(config) {
      for (const field of ["hostname", "domainname"] as const) {
        const found = config[field] ?? "";
        if (new TextEncoder().encode(found).length <= NAME_LIMIT) continue;
        yield { at: `/${field}`, found, wanted: `at most ${NAME_LIMIT} bytes`, message: `${field} is too long` };
      }
    },
  },
  {
    id: "annotation-key",
    severity: "problem",
    field: "annotations",
    finds: "an annotation with an empty name",
    why: "the specification forbids it",
    fix: "name the annotation, in reverse domain notation",
    *find({ annotations = {} }) {
      if (!Object.hasOwn(annotations, "")) return;
      yield { at: "/annotations/", found: annotations[""], wanted: "a name", message: "an annotation has no name" };
    },
  },
  {
    id: "hook-path",
    severity: "problem",
    field: "hooks",
    finds: "a hook whose `path` is not absolute",
    why: "a hook is not searched in PATH, and its working directory differs between the kinds of hooks",
    fix: "write the absolute path of the hook",
    *find({ hooks = {} }) {
      for (const name of hookNames) {
        for (const [index, { path: found }] of (hooks[name] ?? []).entries()) {
          if (found === "" || found.startsWith("/")) continue;
          const message = `the path of ${name} hook #${index} is not absolute: ${quote(found)}`;
          yield { at: `/hooks/${name}/${index}/path`, found, wanted: "an absolute path", message };
        }
      }
    },
  },
  {
    id: "hook-deprecated",
    severity: "warning",
    field: "hooks.prestart",
    finds: "a `prestart` hook",
    why: "the specification deprecates it",
    fix: "use createRuntime, createContainer or startContainer",
    *find({ hooks }) {
      const name: HookName = "prestart";
      const found = hooks?.[name] ?? [];
      if (found.length === 0) return;
      yield { at: `/hooks/${name}`, found, wanted: "no hook", message: "prestart hooks are deprecated" };
    },
  },
];
