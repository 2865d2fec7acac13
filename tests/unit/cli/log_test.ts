import { assertEquals, assertMatch } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { formatJson, formatPlain, formatTerminal, formatText, Logger, type LogRecord } from "../../../lib/cli/log.ts";

function record(change: Partial<LogRecord>): LogRecord {
  const time = new Date("2026-01-02T03:04:05Z");
  return { level: "error", message: "it broke", time, offsetMinutes: 0, fields: {}, ...change };
}

// Expected lines follow the rules of logrus 1.9, text_formatter.go.
const textForms: readonly [change: Partial<LogRecord>, wanted: string][] = [
  [{}, 'time="2026-01-02T03:04:05Z" level=error msg="it broke"\n'],
  [{ message: "plain" }, 'time="2026-01-02T03:04:05Z" level=error msg=plain\n'],
  [{ message: "" }, 'time="2026-01-02T03:04:05Z" level=error\n'],
  [{ message: 'a "b"\nc' }, 'time="2026-01-02T03:04:05Z" level=error msg="a \\"b\\"\\nc"\n'],
  [
    { level: "warning", fields: { z: 1, a: "/x/y", empty: "" } },
    'time="2026-01-02T03:04:05Z" level=warning msg="it broke" a=/x/y empty= z=1\n',
  ],
  [
    { level: "debug", place: { func: "f()", file: "a.ts:1" } },
    'time="2026-01-02T03:04:05Z" level=debug msg="it broke" func="f()" file="a.ts:1"\n',
  ],
];

Deno.test("formatText() writes logfmt as logrus does", () => {
  for (const [change, wanted] of textForms) assertEquals(formatText(record(change)), wanted);
});

Deno.test("formatJson() sorts the keys and escapes as Go does", () => {
  assertEquals(
    formatJson(record({ message: "a <b>", fields: { step: "s", call: "c" }, place: { func: "f()", file: "a.ts:1" } })),
    '{"call":"c","file":"a.ts:1","func":"f()","level":"error","msg":"a \\u003cb\\u003e","step":"s","time":"2026-01-02T03:04:05Z"}\n',
  );
});

Deno.test("formatTerminal() is for people: colour, seconds since the start, the hint by itself", () => {
  assertEquals(
    formatTerminal(record({ fields: { code: "usage", hint: "try again" } }), 12.7),
    `\x1b[31mERRO\x1b[0m[0012] ${"it broke".padEnd(44)}  \x1b[31mcode\x1b[0m=usage\nHint: try again\n`,
  );
});

const failure = new RuncError("step-failed", "error mounting", {
  field: "/mounts/2",
  step: "mount devpts",
  call: "mount(...)",
  errno: 1,
  errnoName: "EPERM",
  hint: "be root",
});

Deno.test("formatPlain() puts the hint on its own line", () => {
  assertEquals(formatPlain(failure), "error mounting\nHint: be root\n");
  assertEquals(formatPlain(new RuncError("usage", "x")), "x\n");
});

function capture(options: { format: "text" | "json"; debug: boolean; terminal?: boolean }): [Logger, string[]] {
  const written: string[] = [];
  const target = {
    isStderr: true,
    isTerminal: () => options.terminal ?? false,
    write: (text: string) => void written.push(text),
  };
  return [new Logger(target, options), written];
}

Deno.test("Logger leaves out debug records unless asked", () => {
  const [quiet, none] = capture({ format: "text", debug: false });
  quiet.debug("x");
  quiet.info("y");
  quiet.listen("debug", "x");
  assertEquals(none.length, 1);
  const [loud, both] = capture({ format: "text", debug: true });
  loud.debug("x");
  loud.info("y");
  assertEquals(both.length, 2);
});

Deno.test("Logger says where a record was made when it debugs", () => {
  const [log, written] = capture({ format: "json", debug: true });
  (function somewhere() {
    log.warning("x", { a: 1 });
  })();
  const { func, file, level, msg, a } = JSON.parse(written[0] ?? "");
  assertEquals([func, level, msg, a], ["somewhere()", "warning", "x", 1]);
  assertMatch(file, /^log_test\.ts:\d+$/);
  const { listen } = log;
  (function elsewhere() {
    listen("info", "y");
  })();
  assertEquals(JSON.parse(written[1] ?? "").func, "elsewhere()");
});

Deno.test("Logger writes JSON to a terminal too when told so, and colour only for text", () => {
  const [json, objects] = capture({ format: "json", debug: false, terminal: true });
  json.error("x");
  assertEquals(JSON.parse(objects[0] ?? "").msg, "x");
  const [text, lines] = capture({ format: "text", debug: false, terminal: true });
  text.error("x");
  assertMatch(lines[0] ?? "", /ERRO.*\[0000\] x/);
});
