/**
 * Messages with file descriptors in a plan: the structs of sendmsg(2) and recvmsg(2).
 *
 * @see unix(7), SCM_RIGHTS; include/uapi/linux/socket.h
 * @module
 */

import { struct } from "../../plan/build.ts";
import type { Data, Struct } from "../../plan/op.ts";

/** The size of every control buffer: a `struct cmsghdr` and one or two descriptors, from 16 on. */
export const CONTROL_SIZE = 24;

/** The control data of a message that sends `count` descriptors. The plan writes them at 16 and 20. */
export function rightsControl(count: 1 | 2): Struct {
  return struct("{SCM_RIGHTS}", CONTROL_SIZE, [
    // cmsg_len, SOL_SOCKET, SCM_RIGHTS.
    { at: 0, size: 8, value: 16 + 4 * count },
    { at: 8, size: 4, value: 1 },
    { at: 12, size: 4, value: 1 },
  ]);
}

/** `struct msghdr` with one part, `size` bytes at `data`. recvmsg(2) changes the control's size, the 8 bytes at 40. */
export function rightsHeader(name: string, data: Data, size: number, control: Data): Struct {
  const vector = struct(`{${name}}`, 16, [{ at: 0, size: 8, value: data }, { at: 8, size: 8, value: size }]);
  return struct(`{iov: ${name}, control: SCM_RIGHTS}`, 56, [
    { at: 16, size: 8, value: vector },
    { at: 24, size: 8, value: 1 },
    { at: 32, size: 8, value: control },
    { at: 40, size: 8, value: CONTROL_SIZE },
  ]);
}
