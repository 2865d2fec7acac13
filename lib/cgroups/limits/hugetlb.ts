/**
 * Converts `linux.resources.hugepageLimits` to files of the hugetlb controller, for use and for reservations.
 *
 * @see Documentation/admin-guide/cgroup-v1/hugetlb.rst
 * @module
 */

import type { HugepageLimit } from "../../specs/config.ts";
import type { LimitWrite } from "./limit.ts";

/** The writes; `suffix` is `limit_in_bytes` on v1 and `max` on v2. */
export function hugetlbLimits(
  limits: readonly HugepageLimit[],
  suffix: "limit_in_bytes" | "max",
): readonly LimitWrite[] {
  return limits.flatMap(({ pageSize, limit }): readonly LimitWrite[] => {
    const write = { controller: "hugetlb", value: String(limit) } as const;
    return [
      { ...write, file: `hugetlb.${pageSize}.${suffix}` },
      // Limits for reservations exist since Linux 5.7.
      { ...write, file: `hugetlb.${pageSize}.rsvd.${suffix}`, tolerate: ["ENOENT"] },
    ];
  });
}
