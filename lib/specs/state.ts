/**
 * The types of a container's state: what `state` prints and what hooks read on standard input.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#state
 * @module
 */

/** The version of the specification that this runtime implements. */
export const OCI_VERSION = "1.3.0";

/** Where a container is in its life; `paused` is runc's addition. */
export type Status = "creating" | "created" | "running" | "stopped" | "paused";

/** A container's state. */
export interface State {
  /** Version of the specification that this follows. */
  readonly ociVersion: string;
  /** Of the container. */
  readonly id: string;
  /** Where it is in its life. */
  readonly status: Status;
  /** On the host; absent once the process is gone. */
  readonly pid?: number;
  /** Absolute. */
  readonly bundle: string;
  /** From config.json. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What goes to a seccomp agent together with the descriptors that it names. */
export interface ContainerProcessState {
  readonly ociVersion: string;
  /** Names of the descriptors, in the order in which SCM_RIGHTS carries them. */
  readonly fds: readonly string[];
  readonly pid: number;
  readonly metadata?: string;
  readonly state: State;
}
