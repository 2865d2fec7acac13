/**
 * What callers write in JSON: config.json, process.json, the resources of `update`, seccomp profiles.
 *
 * @module
 */

import { containerDeviceFilter } from "../../../lib/cgroups/devices/rules.ts";
import { limitsV1, limitsV2 } from "../../../lib/cgroups/limits/limits.ts";
import { deviceProperties, limitProperties, withoutIdleWeight } from "../../../lib/cgroups/systemd/properties.ts";
import { plain } from "../../../lib/cli/output/colour.ts";
import { findingsJson, findingsText } from "../../../lib/cli/output/findings.ts";
import { checkConfig, checkText } from "../../../lib/libcontainer/checks/check.ts";
import { updatedLimits } from "../../../lib/libcontainer/container/update.ts";
import { parseMounts } from "../../../lib/libcontainer/config/mounts.ts";
import { configError, configWarnings, validate, validateProcess } from "../../../lib/libcontainer/config/validate.ts";
import { planExec } from "../../../lib/libcontainer/plans/exec.ts";
import { createActs, startActs } from "../../../lib/libcontainer/plans/parent/create.ts";
import { execActs } from "../../../lib/libcontainer/plans/parent/exec.ts";
import { updateActs } from "../../../lib/libcontainer/plans/parent/control.ts";
import { explainSteps, explainWhole } from "../../../lib/libcontainer/plans/whole.ts";
import { filterFlags, toProfile } from "../../../lib/libcontainer/seccomp/profile.ts";
import { alternatives } from "../../../lib/libcontainer/seccomp/values.ts";
import { limitsOf } from "../../../lib/libcontainer/state/limits_state.ts";
import { parseRuncState } from "../../../lib/libcontainer/state/runc_state.ts";
import { withResources } from "../../../lib/libcontainer/state/to_runc_state.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { exactInteger } from "../../../lib/specs/json.ts";
import { parseConfig, parseProcess, parseResources } from "../../../lib/specs/parse.ts";
import { configFields, processFields, resourcesFields } from "../../../lib/specs/schema.ts";
import { host as checkedHost } from "../../unit/libcontainer/checks/fixture.ts";
import { facts, facts2, request } from "../../unit/libcontainer/fixed.ts";
import { fullConfig } from "../../unit/libcontainer/full_config.ts";
import { containers, DIRECTORY } from "../../unit/libcontainer/parent_plans.ts";
import { execute, host, workOut } from "../../unit/libcontainer/work_out.ts";
import { mutateJson } from "../mutate_json.ts";
import { everyConfig } from "../seeds/configs.ts";
import { asText, Broken, hold, type Target } from "../target.ts";

/** Text of a value, for comparisons. */
export const textOf = (value: unknown): string => JSON.stringify(value, exactInteger) ?? "";

/** The state comes back from its text: what is written can be read. */
export function holdState(text: string): void {
  let again: string;
  try {
    again = textOf(parseRuncState(text));
  } catch (error) {
    // Not thrown on: the input is not what is refused here.
    throw new Broken(`a state that was written cannot be read: ${(error as Error).message}`);
  }
  hold(again === text, () => `a state that is read and written is another: ${again}\n${text}`);
}

/** A config that was parsed and written. */
function parsedAgain(text: string): Config {
  try {
    return parseConfig(text);
  } catch (error) {
    throw new Broken(`a config that was parsed is refused when parsed again: ${(error as Error).message}`);
  }
}

const config: Target = {
  name: "config",
  share: 30,
  make: (random) => mutateJson(random.pick(everyConfig), random, configFields),
  run: (input) => {
    const text = asText(input);
    const { config, mounts, plan, state } = workOut(text);
    // What the parser returns is what it understood: its text says the same.
    const written = textOf(config);
    hold(textOf(parsedAgain(written)) === written, () => "the config that was parsed is another one when parsed again");
    holdState(textOf(state));
    const how = text.length % 2 === 0 ? facts : facts2;
    const creation = {
      config,
      facts: how,
      request,
      mounts,
      directory: DIRECTORY,
      cgroupPaths: state.cgroup_paths ?? {},
    };
    const whole = { parent: [...createActs(creation), ...startActs(creation)], plan };
    return explainWhole(whole).length + JSON.stringify(explainSteps(whole)).length;
  },
};

const check: Target = {
  name: "check",
  share: 20,
  make: config.make,
  run: (input) => {
    const { config, findings } = checkText(asText(input));
    if (config === undefined) return findingsJson("/b", findings).length;
    const mounts = parseMounts(config.mounts, { bundle: "/b", rootfs: "/b/rootfs" });
    const all = [...findings, ...checkConfig(config, checkedHost, mounts, findings)];
    const warnings = configWarnings(config).length;
    return findingsText(all, plain).length +
      findingsJson("/b", all).length + warnings;
  },
};

const processes = [...everyConfig, fullConfig].map((config) => (config as Config).process);

const process: Target = {
  name: "process",
  share: 10,
  make: (random) => mutateJson(random.pick(processes), random, processFields),
  run: (input) => {
    const process = parseProcess(asText(input));
    const problems = validateProcess(process, { selinux: true, rootlessEuid: false, groups: host.groups });
    if (problems.length > 0) throw configError(problems);
    const asked = { ...request, namespaces: ["pid", "mount"] as const, umask: process.user.umask, hasCpuset: false };
    const plan = planExec(process, facts, asked);
    const parent = execActs({ process, facts, request: asked, init: { pid: 100, startTime: 7 } });
    return explainWhole({ parent, plan }).length + execute(plan).image.length;
  },
};

const resources = everyConfig.map((config) => (config as Config).linux?.resources ?? {});

/** The container that is updated. */
const { state: stored } = workOut(JSON.stringify(fullConfig));

const update: Target = {
  name: "update",
  share: 15,
  make: (random) => mutateJson(random.pick(resources), random, resourcesFields),
  run: (input) => {
    const given = parseResources(asText(input));
    const resources = updatedLimits(limitsOf(stored), given);
    const writes = [...limitsV1(resources, { currentLimit: 5n, swapAccounting: true }), ...limitsV2(resources)];
    const filter = containerDeviceFilter(given.devices ?? []);
    const units = ([[1, 230], [2, 230], [2, 252]] as const).flatMap(([cgroupVersion, systemdVersion]) =>
      limitProperties(withoutIdleWeight(resources, { cgroupVersion, systemdVersion }).resources, {
        cgroupVersion,
        systemdVersion,
      })
    );
    const changed = withResources(stored, resources);
    holdState(textOf(changed));
    const acts = explainSteps({ parent: updateActs(containers.v2, { resources: given, rdt: {} }) });
    return textOf([writes, units, deviceProperties(filter), acts]).length;
  },
};

const profiles = [...everyConfig, fullConfig].flatMap((config) => (config as Config).linux?.seccomp ?? []);

const seccomp: Target = {
  name: "seccomp",
  share: 10,
  make: (random) => mutateJson({ seccomp: random.pick(profiles) }, random, configFields.linux.fields as never),
  run: (input) => {
    const text = `{"ociVersion":"1.2.0","root":{"path":"rootfs"},"linux":${asText(input)}}`;
    const config = parseConfig(text);
    const problems = validate(config, host).filter(({ at }) => at.startsWith("/linux/seccomp"));
    if (problems.length > 0) throw configError(problems);
    if (config.linux?.seccomp === undefined) return 0;
    const profile = toProfile(config.linux.seccomp);
    const rules = (profile.syscalls ?? []).map(alternatives);
    return textOf(profile).length + textOf(rules).length + filterFlags(profile);
  },
};

/** Targets of JSON that callers write. */
export const configTargets: readonly Target[] = [config, check, process, update, seccomp];
