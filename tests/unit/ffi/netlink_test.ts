import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import {
  addressHeader,
  broadcastOf,
  linkHeader,
  nameAttribute,
  numberAttribute,
  readAddress,
  readAttributes,
  request,
  splitMessages,
} from "../../../lib/ffi/netlink.ts";

const bytes = (hex: string) => new Uint8Array(hex.replaceAll(" ", "").match(/../g)!.map((byte) => parseInt(byte, 16)));
const hex = (value: Uint8Array) => [...value].map((byte) => byte.toString(16).padStart(2, "0")).join("");

Deno.test("request() makes the bytes that rtnetlink(7) lays out", () => {
  // struct nlmsghdr; struct ifinfomsg or ifaddrmsg; struct rtattr and its value, each at a multiple of 4.
  const cases: readonly [name: string, message: Uint8Array, expected: string][] = [
    [
      "RTM_NEWLINK: flags IFF_UP of device 7",
      request(16, 4, 1, linkHeader(7, 1, 1)),
      "20000000 1000 0500 01000000 00000000 00000000 07000000 01000000 01000000",
    ],
    [
      "RTM_NEWADDR: 192.0.2.7/24 for device 1",
      request(20, 0x604, 2, addressHeader({ family: 2, prefixLength: 24, deviceIndex: 1 }), [
        { type: 2, value: bytes("c0000207") },
        { type: 1, value: bytes("c0000207") },
      ]),
      "28000000 1400 0506 02000000 00000000 02180000 01000000 08000200c0000207 08000100c0000207",
    ],
    [
      "RTM_NEWLINK: device 2 as eth0 into the namespace open as 5",
      request(16, 4, 3, linkHeader(2), [nameAttribute("eth0"), numberAttribute(28, 5)]),
      "34000000 1000 0500 03000000 00000000 00000000 02000000 00000000 00000000" +
      "09000300 6574683000 000000 08001c00 05000000",
    ],
  ];
  for (const [name, message, expected] of cases) assertEquals(hex(message), expected.replaceAll(" ", ""), name);
});

Deno.test("nameAttribute() asks for an alternative name where a name is too long for the other", () => {
  assertEquals(nameAttribute("a".repeat(15)).type, 3);
  assertEquals(nameAttribute("a".repeat(16)).type, 53);
});

Deno.test("readAddress() takes prefix, scope and flags as ip(8) shows them", () => {
  const cases: readonly [name: string, body: string, expected: unknown][] = [
    [
      "IPv4, with its flags a second time",
      "02 18 80 00 01000000 08000100c0000207 08000200c0000207 0800080080000000",
      { family: 2, prefixLength: 24, flags: 0x80, scope: 0, deviceIndex: 1, address: bytes("c0000207") },
    ],
    [
      "the local end of a point-to-point link is one address",
      "02 1e 80 00 01000000 08000100c000020a 08000200c0000209",
      { family: 2, prefixLength: 32, flags: 0x80, scope: 0, deviceIndex: 1, address: bytes("c0000209") },
    ],
    [
      "IPv6, which has IFA_ADDRESS alone, and a flag that the header has no room for",
      "0a 40 80 fd 02000000 14000100fe800000000000000000000000000001 0800080080020000",
      {
        family: 10,
        prefixLength: 64,
        flags: 0x280,
        scope: 253,
        deviceIndex: 2,
        address: bytes("fe800000000000000000000000000001"),
      },
    ],
  ];
  for (const [name, body, expected] of cases) assertEquals<unknown>(readAddress(bytes(body)), expected, name);
  assertEquals(readAddress(bytes("0218000001000000")), undefined, "without an address");
});

Deno.test("broadcastOf() is the last address of a network that has one", () => {
  const cases: readonly [prefixLength: number, expected: string | undefined][] = [
    [24, "c00002ff"],
    [20, "c0000fff"],
    [8, "c0ffffff"],
    [0, "ffffffff"],
    [30, "c0000207"],
    [31, undefined],
    [32, undefined],
  ];
  const rest = { deviceIndex: 1, scope: 0, flags: 0 };
  for (const [prefixLength, expected] of cases) {
    const broadcast = broadcastOf({ ...rest, family: 2, prefixLength, address: bytes("c0000207") });
    assertEquals(broadcast && hex(broadcast), expected, `/${prefixLength}`);
  }
  assertEquals(broadcastOf({ ...rest, family: 10, prefixLength: 64, address: new Uint8Array(16) }), undefined);
});

Deno.test("a length that does not fit is refused, whatever it is", () => {
  for (const length of ["00000000", "0f000000", "11000000", "ffffffff"]) {
    assertThrows(() => splitMessages(bytes(`${length} 0300 0200 01000000 00000000`)), RuncError, "malformed", length);
  }
  assertThrows(() => splitMessages(bytes("10000000")), RuncError, "malformed", "too short for a header");
  for (const length of ["0000", "0300", "0900"]) {
    assertThrows(() => readAttributes(bytes(`${length} 0100 00000000`), 0), RuncError, "malformed", length);
  }
  const [message] = splitMessages(bytes("10000000 0300 0200 01000000 00000000"));
  assertEquals([message!.type, message!.sequence], [3, 1]);
});
