/**
 * The one error type: what was attempted, on what, which call and errno, which field of config.json, what to do.
 *
 * @module
 */

/** Stable codes that callers can branch on. Messages may change; codes do not. */
export type ErrorCode =
  /** config.json is missing, malformed or invalid. */
  | "config-invalid"
  /** The config or the command line asks for a feature that this runtime does not have. */
  | "unsupported"
  /** A wrong command line or argument. */
  | "usage"
  /** The container id is not allowed. */
  | "id-invalid"
  /** A container with this id exists. */
  | "container-exists"
  /** No container with this id. */
  | "container-missing"
  /** The container's state.json is broken. */
  | "state-invalid"
  /** The container is in the wrong state for the operation. */
  | "container-state"
  /** A system call failed. */
  | "syscall-failed"
  /** A step of the plan failed in the stage or in init. */
  | "step-failed"
  /** The container's command cannot be found or executed. */
  | "command-failed"
  | "hook-failed"
  | "cgroup-failed"
  /** The container's init sent a message that is not due. A program in the container may have taken its socket. */
  | "protocol"
  /** A signal ended the operation. Everything that it made is removed. */
  | "interrupted"
  /** What was waited for has not happened in the time given. */
  | "timeout"
  /** An image is damaged, malicious or not an image: a digest that does not match, a broken archive. */
  | "image-invalid"
  /** CRIU could not save or restore the processes of a container. */
  | "checkpoint-failed"
  /** The host lacks something: a library, a file system, systemd. */
  | "host-lacks"
  /** A bug in this program. */
  | "internal";

/** Facts beside the message, all optional. The JSON log record contains those that are set. */
export interface ErrorDetails {
  /** JSON pointer into config.json: `/linux/readonlyPaths/4`. */
  readonly field?: string;
  /** Label of the plan's step that failed. */
  readonly step?: string;
  /** The call with its arguments, in strace notation. */
  readonly call?: string;
  /** Positive errno. */
  readonly errno?: number;
  /** `ENOENT`. */
  readonly errnoName?: string;
  /** What the user can do about it. */
  readonly hint?: string;
  /** Number of the signal that ended the operation. */
  readonly signal?: number;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/** An error of this runtime. `message` is one line. It has runc's words where callers match them. */
export class RuncError extends Error {
  /** `RuncError`. */
  override readonly name = "RuncError";
  /** The kind of failure. */
  readonly code: ErrorCode;
  /** JSON pointer into config.json. */
  readonly field?: string;
  /** Label of the step of the plan that failed. */
  readonly step?: string;
  /** The call with its arguments, in strace notation. */
  readonly call?: string;
  /** Positive errno. */
  readonly errno?: number;
  /** `ENOENT`. */
  readonly errnoName?: string;
  /** What the user can do about it. */
  readonly hint?: string;
  /** The number of the signal that ended the operation: `interrupted`. */
  readonly signal?: number;

  /** `message`: a sentence without a final period. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.field = details.field;
    this.step = details.step;
    this.call = details.call;
    this.errno = details.errno;
    this.errnoName = details.errnoName;
    this.hint = details.hint;
    this.signal = details.signal;
  }

  /** The same error with `prefix: ` before its message, to add context. */
  within(prefix: string): RuncError {
    return new RuncError(this.code, `${prefix}: ${this.message}`, { ...this, cause: this });
  }
}

/** The known facts about an error besides its message, by short names. */
export function errorFields({ code, field, step, call, errnoName, hint }: RuncError): Readonly<Record<string, string>> {
  const known = Object.entries({ code, field, step, call, errno: errnoName, hint });
  return Object.fromEntries(known.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Runs `action`. Adds `prefix: ` to the message of a RuncError that it throws. */
export function inContext<Result>(prefix: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw error instanceof RuncError ? error.within(prefix) : error;
  }
}
