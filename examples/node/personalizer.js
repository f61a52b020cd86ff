// The device runtime as a JavaScript object: every verb a method that returns a promise.

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));

/**
 * Connect to `tacit device serve`.
 *
 * @param {string} socket path of the unix socket
 * @param {string} token what `tacit device token issue` printed
 * @param {number} deadlineMs how long a call may take
 */
export function connect(socket, token, deadlineMs = 2000) {
  const definition = protoLoader.loadSync("tacit/v1/personalizer.proto", {
    includeDirs: [PROTOS],
    longs: Number,
    defaults: true,
  });
  const { PersonalizerService } = grpc.loadPackageDefinition(definition).tacit.v1;
  const client = new PersonalizerService(`unix:${socket}`, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);

  const verbs = { close: () => client.close() };
  for (const { path, responseStream } of Object.values(PersonalizerService.service)) {
    const name = path.split("/").pop();
    const verb = name[0].toLowerCase() + name.slice(1);
    if (responseStream) continue; // Export comes in pieces; see the proto
    verbs[verb] = (request = {}) =>
      new Promise((resolve, reject) => {
        const options = { deadline: Date.now() + deadlineMs };
        client[name](request, metadata, options, (error, reply) =>
          error ? reject(error) : resolve(reply),
        );
      });
  }
  return verbs;
}
