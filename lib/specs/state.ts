/**
 * The types of a container's state, which `state` prints and hooks read on standard input.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#state
 * @module
 */

/** The version of the specification that this runtime implements. */
export const OCI_VERSION = "1.3.0";

/** A container's status. `paused` is runc's addition. */
export type Status = "creating" | "created" | "running" | "stopped" | "paused";

/** A container's state. */
export interface State {
  /** Version of the specification that this follows. */
  readonly ociVersion: string;
  /** The container's id. */
  readonly id: string;
  /** The container's status. */
  readonly status: Status;
  /** The process's pid on the host; absent once the process is gone. */
  readonly pid?: number;
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** From config.json. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The message for a seccomp agent. The descriptors that it names are sent with it. */
export interface ContainerProcessState {
  readonly ociVersion: string;
  /** Names of the descriptors, in the order of the SCM_RIGHTS message. */
  readonly fds: readonly string[];
  readonly pid: number;
  readonly metadata?: string;
  readonly state: State;
}
