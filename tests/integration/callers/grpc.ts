/**
 * gRPC to a server on a socket: calls with one request and one answer.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

/** What came of a call: the answer's message, or what the server says is wrong. */
export type Answer = { readonly bytes: Uint8Array } | { readonly status: number; readonly message: string };

type Headers = Readonly<Record<string, string | undefined>>;

/** What is used of Node's HTTP/2. */
interface Stream {
  on(event: "data", listener: (bytes: Uint8Array) => void): void;
  on(event: "response" | "trailers", listener: (headers: Headers) => void): void;
  on(event: "end", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  end(bytes: Uint8Array): void;
}
interface Session {
  on(event: "error", listener: (error: Error) => void): void;
  request(headers: Headers): Stream;
  close(done: () => void): void;
}

/** A connection. */
export class GrpcClient {
  readonly #session: Session;
  #closed: Promise<void> | undefined;

  private constructor(session: Session) {
    this.#session = session;
  }

  static async connect(path: string): Promise<GrpcClient> {
    // By names that the type checker does not follow: it would want the types of Node's modules from npm.
    const [http2, net] = ["node:http2", "node:net"];
    const { connect } = await import(http2!) as {
      connect(authority: string, options: { createConnection: () => unknown }): Session;
    };
    const socket = await import(net!) as { connect(path: string): unknown };
    const session = connect("http://localhost", { createConnection: () => socket.connect(path) });
    // Each call that is under way is told by its own stream.
    session.on("error", () => {});
    return new GrpcClient(session);
  }

  /** `method`: `/service/Method`. */
  call(method: string, request: Uint8Array): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ":method": "POST",
        ":path": method,
        "content-type": "application/grpc",
        te: "trailers",
      });
      const chunks: Uint8Array[] = [];
      let status: Headers = {};
      // An error without a message has its status among the first headers.
      stream.on("response", (headers) => status = headers);
      stream.on("trailers", (headers) => status = headers);
      stream.on("data", (bytes) => chunks.push(bytes));
      stream.on("error", reject);
      stream.on("end", () => {
        const code = Number(status["grpc-status"] ?? 0);
        if (code === 0) resolve({ bytes: messageIn(chunks) });
        else resolve({ status: code, message: decodeURIComponent(status["grpc-message"] ?? "") });
      });
      stream.end(framed(request));
    });
  }

  /** Closes the connection, once. */
  close(): Promise<void> {
    return this.#closed ??= new Promise((resolve) => this.#session.close(resolve));
  }
}

/** A message: not compressed, its length in four bytes, itself. */
function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(5 + message.length);
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, 5);
  return bytes;
}

function messageIn(chunks: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(chunks.flatMap((chunk) => [...chunk])).subarray(5);
}
