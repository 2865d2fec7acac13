/**
 * Command lines, and what stands in the words of other programs: D-Bus values in annotations, units, answers of a
 * sandbox's programs, trace files.
 *
 * @module
 */

import { annotationProperties, parseVariant } from "../../../lib/cgroups/systemd/annotations.ts";
import { startProperties } from "../../../lib/cgroups/systemd/properties.ts";
import { dependsOnVersion, systemdUnit, unitCgroup, unitObject } from "../../../lib/cgroups/systemd/unit.ts";
import { parseSystemdPath } from "../../../lib/cgroups/path.ts";
import { parseArgument } from "../../../lib/cli/commands/diagnosis/seccomp.ts";
import { resourcesOf } from "../../../lib/cli/commands/update.ts";
import { parsePageServer } from "../../../lib/cli/criu/checkpoint_options.ts";
import { commandHelp, programHelp } from "../../../lib/cli/help.ts";
import { type Invocation, parse, parseDuration } from "../../../lib/cli/parse.ts";
import { parseSignal } from "../../../lib/cli/words/signal_name.ts";
import { parseSubCgroups } from "../../../lib/cli/words/sub_cgroup.ts";
import { commandNames, globalOptions, specOf } from "../../../lib/cli/table.ts";
import { completeTypes } from "../../../lib/ffi/libraries/dbus_value.ts";
import { parseEntries, parseFileInfo, parseWalk } from "../../../lib/sandbox/files/scripts.ts";
import { shellScript } from "../../../lib/sandbox/shell/script.ts";
import { formatTraceparent, parseTraceparent } from "../../../lib/trace/context.ts";
import { mutateText, numbers } from "../mutate_text.ts";
import type { Random } from "../random.ts";
import { asText, hold, isRefusal, type Target } from "../target.ts";
import { textOf } from "./configs.ts";

const optionWords = [globalOptions, ...commandNames().map((name) => specOf(name).options)].flatMap((options) =>
  Object.entries(options).flatMap(([name, { aliases = [] }]) => [name, ...aliases])
);

const values = [
  ...[
    "box",
    "",
    "-",
    "--",
    "-9",
    "KILL",
    "sigterm",
    "1m30s",
    "json",
    "table",
    "a=b",
    "/x",
    "cpu:/a",
    "127.0.0.1:27",
    "[::1]:0",
  ],
  ...["512", "1.5g", "10 MiB", "true", "=", "--=", "-\u00e9", "\ud800", "---x", "unknown", ...numbers],
];

function word(random: Random): string {
  if (random.chance(25)) return random.pick(values);
  if (random.chance(15)) return random.pick(commandNames());
  const option = `${random.pick(["-", "--", "--", "---"])}${random.pick(optionWords)}`;
  return random.chance(35) ? `${option}=${random.pick(values)}` : option;
}

/** Words are separated by what no word contains. */
const BETWEEN = "\0";

/** What commands read out of the words of a valid command line. */
function readValues({ command, options, args, given }: Invocation): number {
  const own = options as Readonly<Record<string, unknown>>;
  if (command === "update") return textOf(resourcesOf(options as Invocation<"update">["options"], given)).length;
  if (command === "kill") return String(parseSignal(args[1] ?? "TERM")).length;
  if (command === "exec") return textOf(parseSubCgroups(own.cgroup as string[])).length;
  if (command === "checkpoint") return textOf(parsePageServer(own["page-server"] as string)).length;
  return 0;
}

const commandLine: Target = {
  name: "command line",
  share: 120,
  make: (random) => {
    const words = [
      random.chance(80) ? random.pick(commandNames()) : word(random),
      ...Array.from({ length: random.below(6) }, () => word(random)),
    ];
    const text = words.join(BETWEEN);
    return random.chance(20) ? mutateText(text, random, optionWords) : text;
  },
  run: (input) => {
    const words = asText(input).split(BETWEEN);
    const parsed = parse(words, (name) => name === "XDG_RUNTIME_DIR" ? "/run/user/0" : undefined);
    if (parsed.kind === "help") return (parsed.topic === undefined ? programHelp() : commandHelp(parsed.topic)).length;
    if (parsed.kind === "version") return 1;
    if (parsed.kind === "error") return parsed.message.length;
    return textOf(parsed).length + readValues(parsed);
  },
};

const argument: Target = {
  name: "arguments",
  share: 60,
  make: (random) => mutateText(random.pick(values), random, ["CLONE_NEWUSER", "|", "0x", "-", "s", "ms", ...numbers]),
  run: (input) => {
    const text = asText(input);
    let size = 0;
    for (
      const read of [
        parseArgument,
        parseDuration,
        parseSignal,
        parsePageServer,
        (text: string) => parseSubCgroups([text]),
      ]
    ) {
      try {
        size += textOf(read(text)).length;
      } catch (error) {
        if (!isRefusal(error, {})) throw error;
      }
    }
    return size;
  },
};

// --- systemd -----------------------------------------------------------------------------------------------------------

const variants = [
  ...[
    "true",
    "5",
    "uint32 5",
    "int64 -7",
    "1.5",
    "'text'",
    '"te\\"xt"',
    "['a', 'b']",
    "@as []",
    "[[1, 2], [3]]",
    "byte 0xff",
    "objectpath '/a/b'",
  ],
  ...[
    "signature 'a(sv)'",
    "'\\u0041\\U0001f600'",
    "[true, false]",
    "-0x8",
    "uint64 18446744073709551615",
    "@aay [[1]]",
    "double 1e400",
    "07",
  ],
];
const propertyNames = [
  "TimeoutStopUSec",
  "TimeoutStopSec",
  "CollectMode",
  "Slice",
  "ab",
  "Description",
  "x1",
  "__proto__",
];

const dbus: Target = {
  name: "dbus",
  share: 60,
  make: (random) =>
    `${random.pick(propertyNames)}=${mutateText(random.pick(variants), random, [...variants, "[", "]", "@a", "("])}`,
  run: (input) => {
    const [name = "", ...rest] = asText(input).split("=");
    const properties = annotationProperties({ [`org.systemd.property.${name}`]: rest.join("=") });
    for (const [, { signature }] of properties) completeTypes(signature);
    const unit = systemdUnit({ slice: "", prefix: "runc", name: "box" }, false, properties);
    return textOf([properties, startProperties(unit, 1, 2)]).length;
  },
};

/** As the functions' documentation says. */
const variant: Target = {
  name: "variant",
  share: 60,
  throws: [SyntaxError, RangeError, TypeError],
  make: (random) =>
    mutateText(random.pick([...variants, "sa(sv)a(sa(sv))", "((ss)a{sv})", "aaaas"]), random, [
      "[",
      "a",
      "(",
      ")",
      "'",
      ...variants,
    ]),
  run: (input) => {
    const text = asText(input);
    try {
      return completeTypes(text).join("").length;
    } catch (error) {
      hold(error instanceof TypeError, () => `completeTypes() throws ${error}`);
    }
    return textOf(parseVariant(text)).length;
  },
};

const paths = [
  "",
  "a:b:c",
  "system.slice:runc:box",
  "test-a-b.slice::x.slice",
  "-.slice:docker:1",
  "user.slice:_:.x",
  "x:cgroup.y:cpu.z",
];

const unit: Target = {
  name: "unit",
  share: 60,
  make: (random) => mutateText(random.pick(paths), random, [":", ".slice", "-", "_", "cpu.", "..", "/", ...paths]),
  run: (input) => {
    const unit = systemdUnit(parseSystemdPath({ id: "box", cgroupsPath: asText(input) }), false);
    const object = unitObject(unit.name);
    hold(/^\/[\w/]+$/.test(object), () => `the object path ${object}`);
    const cgroups = [0, 254].map((systemdVersion) => unitCgroup(unit, { managerCgroup: "/", systemdVersion }));
    return textOf([cgroups, object, dependsOnVersion(unit)]).length;
  },
};

// --- others --------------------------------------------------------------------------------------------------------------

const traceparents = [
  "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-x",
];

const traceparent: Target = {
  name: "traceparent",
  share: 40,
  make: (random) => mutateText(random.pick(traceparents), random, ["-", "00", "ff", "0000000000000000"]),
  run: (input) => {
    const context = parseTraceparent(asText(input));
    if (context === undefined) return 0;
    const again = parseTraceparent(formatTraceparent(context));
    hold(textOf(again) === textOf(context), () => `${textOf(context)} is ${textOf(again)}`);
    return formatTraceparent(context).length;
  },
};

const answers = [
  "81a4 5 0 0 12 1 1700000000 1700000000 1700000000\n",
  "fa\0db\0lc\0",
  "f./x/y\0d./x\0f/x/y\0",
  "f\0\0d\n\0",
];

const sandboxFiles: Target = {
  name: "sandbox files",
  share: 60,
  make: (random) => mutateText(random.pick(answers), random, ["\0", "f", "d", "81a4", "./x", ...numbers]),
  run: (input) => {
    const text = asText(input);
    return textOf([parseEntries(text), parseWalk(text, "x"), parseWalk(text, "/x")]).length +
      textOf(parseFileInfo(text)).length;
  },
};

const scripts = [
  "echo ${} \"${}\" '${}' $((1 + ${})) # ${}\n",
  "cat <<EOF\n${}\nEOF\n",
  "a=$(b ${} `c`) && \\${} \"$(d '${}')\"",
  "case x in (a) ;; esac",
];

const shell: Target = {
  name: "shell",
  share: 60,
  throws: [TypeError],
  make: (random) =>
    mutateText(random.pick(scripts), random, ["${}", '"', "'", "\\", "$((", "))", "$(", ")", "`", "<<EOF", "#", "\n"]),
  run: (input) => {
    const strings = asText(input).split("${}");
    const { args } = shellScript(
      strings,
      strings.slice(1).map((_, index) => index % 3 === 0 ? 5 : index % 3 === 1 ? "$(x)" : ["a", "'"]),
    );
    hold(!args[1]!.includes("$(x)") || asText(input).includes("$(x)"), () => "a value is in the script");
    return args.join("").length;
  },
};

/** Targets of words. */
export const wordTargets: readonly Target[] = [
  commandLine,
  argument,
  dbus,
  variant,
  unit,
  traceparent,
  sandboxFiles,
  shell,
];
