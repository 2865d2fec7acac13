/**
 * Compares namespaces. Pure.
 *
 * @see namespaces(7)
 * @module
 */

import { namespaceTypes } from "../../specs/config.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import type { RuncState } from "../state/runc_state.ts";
import { type Comparison, type InspectFinding, judge } from "./finding.ts";
import type { KernelView } from "./kernel_view.ts";

/** A finding for each type of namespace that the kernel has. */
export function namespaceFindings({ config }: RuncState, view: KernelView): readonly InspectFinding[] {
  const listed = config.namespaces ?? [];
  return namespaceTypes.flatMap((type) => {
    const own = view.own.namespaces[type];
    const kernel = view.process?.namespaces[type];
    const index = listed.findIndex((entry) => entry.type === namespaceKinds[type].stateName);
    if (own === undefined && index < 0) return [];
    const common = { topic: "namespaces", name: type, kernel } as const;
    const isShared = own !== undefined && kernel === own;
    if (index < 0) {
      const note = isShared ? undefined : "not that of this command: the container was created in another one";
      return [judge({ ...common, config: "the host's", note: kernel === undefined ? undefined : note }, isShared)];
    }
    const field = `/linux/namespaces/${index}`;
    const path = listed[index]!.path ?? "";
    if (path === "") {
      const note = isShared ? "the host's namespace" : undefined;
      return [judge({ ...common, field, config: "new", note }, !isShared)];
    }
    return [joinedFinding({ ...common, field, config: `joined: ${path}` }, view.joined[path])];
  });
}

function joinedFinding(common: Comparison, wanted: string | undefined): InspectFinding {
  if (wanted !== undefined) {
    return judge(
      { ...common, note: wanted === common.kernel ? undefined : `the path is ${wanted} now` },
      wanted === common.kernel,
    );
  }
  return { ...common, verdict: "unknown", note: "the path does not exist any more, or cannot be read" };
}
