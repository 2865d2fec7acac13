import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { decodeMessage, encodeMessage, type MessageSpec } from "../../../../lib/libcontainer/checkpoint/protobuf.ts";

const spec = {
  number: { number: 1, type: "int32", label: "required" },
  flag: { number: 2, type: "bool" },
  text: { number: 3, type: "string" },
  more: { number: 4, type: "uint32", label: "repeated" },
  inner: { number: 16, type: { name: { number: 1, type: "string" } } },
} as const satisfies MessageSpec;

const decode = (hex: string) => decodeMessage(spec, Uint8Array.fromHex(hex));

Deno.test("encodeMessage() writes the bytes of the format's description", () => {
  const cases: readonly [value: Parameters<typeof encodeMessage<typeof spec>>[1], hex: string][] = [
    // The example of the description: field 1, 150.
    [{ number: 150 }, "089601"],
    [{ number: 0, flag: false }, "08001000"],
    [{ number: -1, flag: true }, "08ffffffffffffffffff011001"],
    [{ number: 0x7fffffff }, "08ffffffff07"],
    [{ number: -0x80000000 }, "0880808080f8ffffffff01"],
    [{ number: 1, text: "testing" }, "08011a0774657374696e67"],
    [{ number: 1, text: "" }, "08011a00"],
    [{ number: 1, more: [0xffffffff, 3] }, "080120ffffffff0f2003"],
    [{ number: 1, more: [] }, "0801"],
    [{ number: 1, inner: {} }, "0801820100"],
    [{ number: 1, inner: { name: "é" } }, "08018201040a02c3a9"],
  ];
  for (const [value, hex] of cases) {
    assertEquals(encodeMessage(spec, value).toHex(), hex);
    const read = decode(hex);
    const given = value.more?.length === 0 ? { number: value.number } : value;
    assertEquals<unknown>(read, given);
  }
});

Deno.test("encodeMessage() refuses a number that does not fit", () => {
  for (const number of [0x80000000, -0x80000001, 1.5, NaN]) {
    const error = assertThrows(() => encodeMessage(spec, { number }), RuncError);
    assertEquals(error.message, `number: ${number} is no int32`);
  }
  for (const one of [-1, 2 ** 32]) {
    assertThrows(() => encodeMessage(spec, { number: 1, more: [one] }), RuncError, `more: ${one} is no uint32`);
  }
});

Deno.test("a long string has a length of several bytes", () => {
  const text = "x".repeat(20_000);
  const bytes = encodeMessage(spec, { number: 1, text });
  assertEquals(bytes.subarray(0, 6).toHex(), "08011aa09c01");
  assertEquals(decodeMessage(spec, bytes).text, text);
});

Deno.test("decodeMessage() takes the last value of a field that is not repeated, in any order of the fields", () => {
  assertEquals(decode("2007080308042009"), { number: 4, more: [7, 9] });
});

Deno.test("decodeMessage() skips unknown fields of every kind", () => {
  // Fields 100 to 103, by protoc: fixed64, fixed32, bytes, int64.
  assertEquals(decode("0807a1060100000000000000ad0602000000b2060378797ab806ffffffffffffffffff01"), { number: 7 });
});

Deno.test("decodeMessage() refuses what is no message", () => {
  const cases: readonly [what: string, hex: string, why: string][] = [
    ["nothing", "", "number is missing"],
    ["another field alone", "1001", "number is missing"],
    ["a key without a value", "08", "1 bytes at 1, of 1"],
    ["a number without its end", "0880", "1 bytes at 2, of 2"],
    ["a number of eleven bytes", "08ffffffffffffffffffff01", "a number of more than ten bytes"],
    ["a string longer than the message", "08011a05616263", "5 bytes at 4, of 7"],
    ["a string of 2^64 bytes", "08011affffffffffffffffff01", "18446744073709552000 bytes at 13, of 13"],
    ["a message longer than the message around it", "08018201020a05", "5 bytes at 2, of 2"],
    ["an unknown field that is cut", "0801a20605", "5 bytes at 5, of 5"],
    ["a cut fixed64", "0801a10601", "8 bytes at 4, of 5"],
    ["a cut fixed32", "0801ad0601", "4 bytes at 4, of 5"],
    ["a string where a number belongs", "0a0161", "number has wire type 2"],
    ["a number where a string belongs", "08011801", "text has wire type 0"],
    ["a group", "08012b", "wire type 3"],
    ["field 0", "080100", "field 0"],
  ];
  for (const [what, hex, why] of cases) {
    const error = assertThrows(() => decode(hex), RuncError, undefined, what);
    assertEquals([error.code, error.message], ["protocol", `message of CRIU cannot be read: ${why}`], what);
  }
});
