/**
 * Parses the values of `exec --cgroup`. Pure.
 *
 * @module
 */

import type { SubCgroups } from "../../cgroups/sub_cgroup.ts";
import { RuncError } from "../../errors.ts";

/**
 * Accepts one `path` for every hierarchy, or any number of `controller[,controller]:path`.
 *
 * @throws {RuncError} `usage`.
 */
export function parseSubCgroups(values: readonly string[]): SubCgroups {
  const paths: Record<string, string> = {};
  for (const value of values) {
    const colon = value.indexOf(":");
    if (colon < 0) {
      if (values.length > 1) throw invalid(value, "missing <controller>: prefix");
      return { "": value };
    }
    for (const controller of value.slice(0, colon).split(",")) {
      if (controller === "") throw invalid(value, "empty <controller> prefix");
      if (Object.hasOwn(paths, controller)) {
        throw new RuncError(
          "usage",
          `invalid --cgroup argument(s): controller ${controller} specified multiple times`,
        );
      }
      paths[controller] = value.slice(colon + 1);
    }
  }
  return paths;
}

function invalid(value: string, why: string): RuncError {
  return new RuncError("usage", `invalid --cgroup argument: ${value} (${why})`, {
    hint: "cgroup v1: controller[,controller]:path, cgroup v2: path",
  });
}
