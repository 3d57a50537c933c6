// Deploys an app and waits until its rollout has ended.
//
//     wait 127.0.0.1:7420 namespaces/default/apps/web web:1
//
// The last line says how it ended. The exit status is 0 for `succeeded` and `unchanged`, and 1 otherwise.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";

import { AppService } from "./gen/gantry/v1/app_service_pb.js";
import { RolloutState } from "./gen/gantry/v1/rollout_pb.js";
import { RolloutService } from "./gen/gantry/v1/rollout_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** Milliseconds for everything, as long as this caller wants to wait. */
const LIMIT = 600_000;
/** Milliseconds for one call and its repeats. */
const AWAY = 120_000;

/** Makes a call, and repeats it while gantryd is away or asks for that. */
async function call<T>(method: () => Promise<T>, end: number): Promise<T> {
  end = Math.min(end, Date.now() + AWAY);
  for (let delay = 200; ; delay = Math.min(2 * delay, 5_000)) {
    try {
      return await method();
    } catch (reason) {
      const error = ConnectError.from(reason);
      const asked = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
      const passing =
        [Code.Unavailable, Code.DeadlineExceeded].includes(error.code) ||
        // The connection broke. Every error that gantryd sends has details.
        ([Code.Canceled, Code.Aborted].includes(error.code) && error.details.length === 0);
      // Partly by chance, so that not all callers come back at once.
      const pause = (asked ? durationMs(asked) : 0) + delay * (0.5 + Math.random() / 2);
      if (!(asked || passing) || Date.now() + pause > end) throw error;
      console.error(`again in ${Math.round(pause)} ms: ${error.message}`);
      await sleep(pause);
    }
  }
}

/** Returns how it ended, as the last line to print. */
async function deployAndWait(address: string, app: string, image: string): Promise<string> {
  const end = Date.now() + LIMIT;
  const transport = createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "2" });
  const apps = createClient(AppService, transport);
  const rollouts = createClient(RolloutService, transport);

  const request = {
    app: { name: app, spec: { image, replicas: 2 } },
    // Every attempt has the same id. So gantryd deploys once, however often it is asked.
    requestId: randomUUID(),
    reason: "example in TypeScript",
  };
  let { rollout } = await call(() => apps.deployApp(request, { timeoutMs: 30_000 }), end);
  if (!rollout) return "unchanged";
  // gantryd answers when the rollout has ended, or after `timeout`. The deadline of the call is a bit longer,
  // so that it only passes if no answer comes.
  const wait = { name: rollout.name, timeout: durationFromMs(30_000) };
  while (Date.now() < end) {
    ({ rollout } = await call(() => rollouts.waitRollout(wait, { timeoutMs: 35_000 }), end));
    switch (rollout?.state) {
      case RolloutState.SUCCEEDED:
        return `succeeded ${wait.name}`;
      case RolloutState.FAILED:
        return `failed ${wait.name} ${rollout.error?.reason}: ${rollout.error?.message}`;
      case RolloutState.SUPERSEDED:
        return `failed ${wait.name} SUPERSEDED: ${rollout.message}`;
      // Every other state, also one that this program does not know, means that it has not ended.
    }
  }
  return `failed ${wait.name} TIMEOUT: it has not ended within ${LIMIT / 1000} s`;
}

/** Prints the wrong fields that an error names, and returns the last line to print. */
function describe(error: ConnectError): string {
  for (const { field, description } of error.findDetails(BadRequestSchema)[0]?.fieldViolations ?? []) {
    console.log(`  ${field}: ${description}`);
  }
  // The name of the code in every other language, for example INVALID_ARGUMENT.
  const code = (Code[error.code] ?? "").replace(/(?<=.)(?=[A-Z])/g, "_").toUpperCase();
  // Absent if gantryd did not answer.
  const info = error.findDetails(ErrorInfoSchema)[0];
  return `error ${code}${info ? ` ${info.reason}` : ""}: ${error.rawMessage}`;
}

const [address, app, image] = process.argv.slice(2);
if (!address || !app || !image) {
  console.error("usage: wait ADDRESS APP IMAGE");
  process.exit(2);
}
const outcome = await deployAndWait(address, app, image).catch((error) => describe(ConnectError.from(error)));
console.log(outcome);
process.exitCode = /^(succeeded|unchanged)/.test(outcome) ? 0 : 1;
