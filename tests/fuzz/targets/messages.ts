/**
 * What processes of a container send: messages of init, datagrams of sd_notify, and the answers of CRIU.
 *
 * @module
 */

import { RuncError } from "../../../lib/errors.ts";
import { firstError, quoteErrors } from "../../../lib/libcontainer/checkpoint/criu_log.ts";
import { versionNumber } from "../../../lib/libcontainer/checkpoint/criu_version.ts";
import { decodeMessage, encodeMessage, type MessageSpec } from "../../../lib/libcontainer/checkpoint/protobuf.ts";
import { decodeResp, reqTypeName } from "../../../lib/libcontainer/checkpoint/rpc.ts";
import { Conversation } from "../../../lib/libcontainer/launch/conversation.ts";
import { readyLine } from "../../../lib/libcontainer/launch/notify.ts";
import { homeOf } from "../../../lib/libcontainer/launch/passwd.ts";
import { DATAGRAM_LIMIT } from "../../../lib/libcontainer/plans/monitor/notify.ts";
import { pids } from "../../unit/libcontainer/fake_host.ts";
import { FakeMessage, type Kind } from "../../unit/libcontainer/fake_message.ts";
import { actsOf, due, message, type Sender } from "../../unit/libcontainer/launch/conversation_states.ts";
import { notify, Scene } from "../../unit/libcontainer/monitor/scene.ts";
import { joined, mutateBytes, mutateText } from "../mutate_text.ts";
import type { Random } from "../random.ts";
import { asBytes, asText, hold, type Target } from "../target.ts";

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

// --- init ------------------------------------------------------------------------------------------------------------

const plans = Object.keys(due);
/** By number in an input: the real ones, and strangers. */
const senders = [0, pids.stage, pids.helper, pids.init, pids.stranger, 1, 4242];

/**
 * One message in an input: 2 bytes of length; a byte each of sender, number of descriptors, and whether it is cut; its
 * bytes.
 */
const HEAD = 5;

function packed({ bytes, sender, descriptors, isCut }: FakeMessage): Uint8Array<ArrayBuffer> {
  const at = Math.max(0, senders.indexOf(sender));
  return joined(Uint8Array.of(bytes.length & 0xff, bytes.length >> 8, at, descriptors, isCut ? 1 : 0), bytes);
}

function* unpacked(input: Uint8Array<ArrayBuffer>): Iterable<FakeMessage> {
  for (let at = 1; at + HEAD <= input.length;) {
    const [low = 0, high = 0, sender = 0, descriptors = 0, isCut = 0] = input.subarray(at, at + HEAD);
    const end = at + HEAD + (low | high << 8);
    const bytes = input.slice(at + HEAD, end);
    yield new FakeMessage(bytes, senders[sender % senders.length]!, descriptors % 4, isCut === 1);
    at = end;
  }
}

const otherKinds = [
  "target",
  "copyUp",
  "copied",
  "passwd",
  "warning",
  "error",
  "seccomp",
] as const satisfies readonly Kind[];
const speakers = ["stage", "helper", "init", "stranger"] as const satisfies readonly Sender[];

/** What a plan awaits, with other messages in between, changed. */
function talk(random: Random): Uint8Array<ArrayBuffer> {
  const number = random.below(plans.length);
  const messages = due[plans[number]!]!.flatMap((line) => {
    const [kind, by, ...serves] = line.split(" ");
    const before = serves.filter(() => random.chance(30)).map((each) => message(each as Kind, "init", { value: 3n }));
    const others = random.chance(10) ? [message(random.pick(otherKinds), random.pick(speakers))] : [];
    return [...before, ...others, message(kind as Kind, by as Sender)];
  }).map(packed);
  const told = messages.map((bytes) => random.chance(8) ? mutateBytes(bytes, random) : bytes);
  if (random.chance(5)) {
    told.splice(
      random.below(told.length + 1),
      0,
      ...Array.from({ length: 200 }, () => random.pick(messages)),
    );
  }
  return joined(Uint8Array.of(number), ...told);
}

const conversation: Target = {
  name: "init",
  share: 150,
  make: talk,
  run: (input) => {
    const bytes = asBytes(input);
    const { acts, init } = actsOf(plans[(bytes[0] ?? 0) % plans.length]!);
    const conversation = new Conversation<FakeMessage>(acts, init);
    let done = conversation.begin().length;
    if (init === undefined) conversation.stageIs(pids.stage);
    for (const message of unpacked(bytes)) {
      const before = conversation.awaited;
      try {
        const follow = conversation.feed(message);
        // As long as it waits, it does what the message asks for, and nothing of the plan.
        const isStill = conversation.awaited === before;
        const own = (follow ?? []).filter((act) => acts.includes(act));
        hold(!isStill || own.length === 0, () => `acts of the plan are done without their message: ${own[0]!.label}`);
        done += follow?.length ?? 0;
      } catch (error) {
        if (!(error instanceof RuncError)) throw error;
        hold(["protocol", "unsupported"].includes(error.code), () => `the code is ${error.code}`);
        hold(conversation.awaited === before, () => "a message that was refused has an effect");
        throw error;
      }
    }
    const kept = conversation.drop().length;
    return done + kept + homeOf(1, conversation.passwd).length;
  },
};

// --- sd_notify -------------------------------------------------------------------------------------------------------

const datagrams = [
  ...[
    "READY=1",
    "STATUS=up\nREADY=1\n",
    "READY=1\nMAINPID=5\nSTATUS=x",
    "\n\nREADY=",
    "WATCHDOG=1",
    "BARRIER=1",
    "READ\nY=1",
  ],
  ...[`${"x".repeat(4088)}\nREADY=1`, "EXTEND_TIMEOUT_USEC=30000000\nREADY=1"],
];
const notifyWords = ["READY=1", "READY=0", "\nREADY=1\n", "READY", "=", "STATUS=", "ERRNO=2", "FDSTORE=1", "X_READY=1"];

const datagram: Target = {
  name: "notify",
  share: 5,
  make: (random) => {
    const text = random.chance(70) ? mutateText(random.pick(datagrams), random, notifyWords) : random.pick(datagrams);
    return random.chance(50) ? mutateBytes(encode(text), random) : encode(text);
  },
  run: (input) => {
    const bytes = asBytes(input);
    const line = readyLine(new TextDecoder().decode(bytes.subarray(0, DATAGRAM_LIMIT)));
    const scene = new Scene({ notify });
    // recvfrom(2) drops what does not fit.
    scene.then(() => void scene.file("notify").input.push(bytes.subarray(0, DATAGRAM_LIMIT)));
    if (line !== undefined) scene.then(() => scene.kernel.files.get(102)!.ends());
    hold(scene.ends(0).run() === 0, () => "the monitor does not end as its process did");
    const wanted = line === undefined ? [] : [`${line}\n`, "MAINPID=42\n", "fd"];
    hold(
      JSON.stringify(scene.kernel.sent) === JSON.stringify(wanted),
      () => `monitor and proxy tell the manager ${JSON.stringify([scene.kernel.sent, wanted]).slice(0, 200)}`,
    );
    return scene.kernel.sent.join("").length;
  },
};

// --- CRIU ------------------------------------------------------------------------------------------------------------

/** Every kind of field that CRIU's answers have. */
const answer = {
  type: { number: 1, type: "int32", label: "required" },
  success: { number: 2, type: "bool", label: "required" },
  notify: {
    number: 5,
    type: { script: { number: 1, type: "string" }, pid: { number: 2, type: "int32" } },
  },
  cr_errno: { number: 7, type: "int32" },
  cr_errmsg: { number: 9, type: "string" },
  version: {
    number: 10,
    type: {
      major_number: { number: 1, type: "int32", label: "required" },
      minor_number: { number: 2, type: "int32", label: "required" },
      gitid: { number: 3, type: "string" },
    },
  },
  texts: { number: 90, type: "string", label: "repeated" },
  mask: { number: 91, type: "uint32" },
} as const satisfies MessageSpec;

const answers = [
  { type: 1, success: true },
  { type: 6, success: true, notify: { script: "post-restore", pid: 4242 } },
  { type: 10, success: true, version: { major_number: 4, minor_number: 1, gitid: "v4.1" } },
  { type: 2, success: false, cr_errno: -17, cr_errmsg: "Can't open", texts: ["a", "", "\u00e9"], mask: 0xffffffff },
].map((value) => encodeMessage(answer, value));

const criu: Target = {
  name: "criu",
  share: 100,
  make: (random) => mutateBytes(random.pick(answers), random),
  run: (input) => {
    const bytes = asBytes(input);
    const value = decodeMessage(answer, bytes);
    const written = encodeMessage(answer, value);
    const again = encodeMessage(answer, decodeMessage(answer, written));
    hold(again.toHex() === written.toHex(), () => `${written.toHex()} is ${again.toHex()} when it is read and written`);
    const { type, version } = decodeResp(bytes);
    return JSON.stringify(value).length + reqTypeName(type).length +
      (version === undefined ? 0 : versionNumber(version) && 1);
  },
};

const log = `(00.000123) Unlimited
(00.012345) Error (criu/files-reg.c:1): Can't open /x
rlimit: Can't setup RLIMIT_NOFILE: Error 1
(00.222222) Warn  (criu/x.c:2): y
(00.333333) Error (criu/cr-dump.c:2093): Dumping FAILED.
`;

const criuLog: Target = {
  name: "criu log",
  share: 40,
  make: (random) => mutateText(log, random, ["Error", "(00.1)", "\n\n\n\n\n\n\n", "rlimit: Can't setup RLIMIT_NOFILE"]),
  run: (input) => {
    const text = asText(input);
    return (firstError(text) ?? "").length + quoteErrors("/dump.log", text).join("").length;
  },
};

/** Targets of messages. */
export const messageTargets: readonly Target[] = [conversation, datagram, criu, criuLog];
