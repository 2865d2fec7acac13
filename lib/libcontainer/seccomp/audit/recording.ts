/**
 * What an audit has seen: which system calls were made, and what the config's filter would have decided. Pure.
 *
 * @module
 */

import { X32_ARCH, X32_BIT, X86_64_ARCH } from "../enosys_stub.ts";
import type { SeccompProfile } from "../profile.ts";
import { simulate } from "../simulate.ts";

/** One system call that was made. */
export interface NotedCall {
  /** AUDIT_ARCH_*. */
  readonly auditArch: number;
  readonly number: number;
  readonly args: readonly bigint[];
  /** On the host. */
  readonly pid: number;
}

/** Calls with the same arguments, as far as the profile looks at them. */
export interface Sample {
  readonly args: readonly bigint[];
  /** SECCOMP_RET_* of the config's filter. */
  readonly decision: number;
  /** The program that made the first of them, as it calls itself. */
  readonly program: string;
  calls: number;
}

/** All calls of one number. */
export interface CallRecord {
  /** SCMP_ARCH token. */
  readonly arch: number;
  readonly number: number;
  readonly samples: readonly Sample[];
}

/** What a recording needs to know. */
export interface RecordingOptions {
  /** The config's filter. Absent: it has none, and everything is allowed. */
  readonly filter?: { readonly profile: SeccompProfile; readonly program: Uint8Array<ArrayBuffer> };
  /** The number of a system call on an architecture; negative if it has none. */
  readonly numberOf: (name: string, arch: number) => number;
  /** The name of the program of a process. */
  readonly programOf: (pid: number) => string;
}

/** SECCOMP_RET_ALLOW, include/uapi/linux/seccomp.h */
export const ALLOWED = 0x7fff0000;

/** Samples of one call beyond this number are counted with one of the same decision: its arguments vary too much. */
const SAMPLE_LIMIT = 64;

/** More than any architecture has calls. A program could make up numbers to use up the auditor's memory. */
const CALL_LIMIT = 2048;

/** A growing record. */
export class Recording {
  readonly #options: RecordingOptions;
  readonly #calls = new Map<string, { arch: number; number: number; indexes: readonly number[]; samples: Samples }>();

  constructor(options: RecordingOptions) {
    this.#options = options;
  }

  /** How many calls were not recorded, because there were too many numbers. */
  unrecorded = 0;

  /** All calls so far, by architecture and number. */
  get records(): readonly CallRecord[] {
    return [...this.#calls.values()]
      .map(({ arch, number, samples }) => ({ arch, number, samples: [...samples.values()] }))
      .sort((one, other) => one.arch - other.arch || one.number - other.number);
  }

  /** Notes a call. */
  add({ auditArch, number, args, pid }: NotedCall): void {
    const name = `${auditArch} ${number}`;
    let call = this.#calls.get(name);
    if (call === undefined) {
      if (this.#calls.size >= CALL_LIMIT) {
        this.unrecorded++;
        return;
      }
      const arch = auditArch === X86_64_ARCH && (number & X32_BIT) !== 0 ? X32_ARCH : auditArch;
      this.#calls.set(name, call = { arch, number, indexes: this.#indexesOf(arch, number), samples: new Map() });
    }
    const key = call.indexes.map((index) => args[index] ?? 0n).join(" ");
    let sample = call.samples.get(key);
    if (sample === undefined) {
      const decision = this.#decide({ auditArch, number, args });
      if (call.samples.size >= SAMPLE_LIMIT) {
        sample = [...call.samples.values()].find((one) => one.decision === decision);
      }
      if (sample === undefined) {
        call.samples.set(key, sample = { args, decision, program: this.#options.programOf(pid), calls: 0 });
      }
    }
    sample.calls++;
  }

  #decide(call: { auditArch: number; number: number; args: readonly bigint[] }): number {
    const { filter } = this.#options;
    return filter === undefined ? ALLOWED : simulate(filter.program, call).result;
  }

  /** The arguments that the profile's rules for a call look at. */
  #indexesOf(arch: number, number: number): readonly number[] {
    const { filter, numberOf } = this.#options;
    const rules = filter?.profile.syscalls ?? [];
    const conditions = rules.filter(({ name, args }) => args?.length && numberOf(name, arch) === number)
      .flatMap(({ args }) => args ?? []);
    return [...new Set(conditions.map(({ index }) => index))];
  }
}

type Samples = Map<string, Sample>;
