"""Deploys an app and waits until its rollout has ended.

    wait 127.0.0.1:7420 namespaces/default/apps/web web:1

The last line says how it ended. The exit status is 0 for `succeeded` and `unchanged`, and 1 otherwise.
"""

import random
import sys
import time
import uuid
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from gantry.v1.app_pb2 import App, AppSpec
from gantry.v1.app_service_pb2 import DeployAppRequest
from gantry.v1.app_service_pb2_grpc import AppServiceStub
from gantry.v1.rollout_pb2 import (
    ROLLOUT_STATE_FAILED,
    ROLLOUT_STATE_SUCCEEDED,
    ROLLOUT_STATE_SUPERSEDED,
    Rollout,
)
from gantry.v1.rollout_service_pb2 import WaitRolloutRequest
from gantry.v1.rollout_service_pb2_grpc import RolloutServiceStub

LIMIT = 600.0  # seconds for everything, as long as this caller wants to wait
AWAY = 120.0  # seconds for one call and its repeats
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Detail = TypeVar("Detail", bound=Message)


def detail(error: Any, kind: type[Detail]) -> Detail | None:
    """Returns the detail of this kind in an error of a call, or None."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def call(method: Any, request: Any, timeout: float, end: float) -> Any:
    """Makes a call, and repeats it while gantryd is away or asks for that."""
    end = min(end, time.monotonic() + AWAY)
    delay = 0.2
    while True:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            asked = detail(error, RetryInfo)
            pause = asked.retry_delay.ToTimedelta().total_seconds() if asked else 0.0
            pause += delay * random.uniform(0.5, 1)  # so that not all callers come back at once
            if (not asked and error.code() not in PASSING) or time.monotonic() + pause > end:
                raise
            print(f"again in {pause:.1f} s: {error.code().name}: {error.details()}", file=sys.stderr)
            time.sleep(pause)
            delay = min(2 * delay, 5.0)


def deploy_and_wait(address: str, app: str, image: str) -> str:
    """Returns how it ended, as the last line to print."""
    end = time.monotonic() + LIMIT
    # Without this option, gRPC itself waits up to two minutes before it connects again.
    with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 5000)]) as channel:
        request = DeployAppRequest(
            app=App(name=app, spec=AppSpec(image=image, replicas=2)),
            # Every attempt has the same id. So gantryd deploys once, however often it is asked.
            request_id=str(uuid.uuid4()),
            reason="example in Python",
        )
        rollout: Rollout = call(AppServiceStub(channel).DeployApp, request, 30, end).rollout
        if not rollout.name:
            return "unchanged"
        # gantryd answers when the rollout has ended, or after `timeout`. The deadline of the call is a bit
        # longer, so that it only passes if no answer comes.
        wait = WaitRolloutRequest(name=rollout.name, timeout=Duration(seconds=30))
        while time.monotonic() < end:
            rollout = call(RolloutServiceStub(channel).WaitRollout, wait, 35, end).rollout
            if rollout.state == ROLLOUT_STATE_SUCCEEDED:
                return f"succeeded {rollout.name}"
            if rollout.state == ROLLOUT_STATE_FAILED:
                return f"failed {rollout.name} {rollout.error.reason}: {rollout.error.message}"
            if rollout.state == ROLLOUT_STATE_SUPERSEDED:
                return f"failed {rollout.name} SUPERSEDED: {rollout.message}"
            # Every other state, also one that this program does not know, means that it has not ended.
        return f"failed {rollout.name} TIMEOUT: it has not ended within {LIMIT:.0f} s"


def main() -> int:
    if len(sys.argv) != 4:
        print("usage: wait ADDRESS APP IMAGE", file=sys.stderr)
        return 2
    try:
        outcome = deploy_and_wait(*sys.argv[1:])
    except grpc.RpcError as error:
        if bad := detail(error, BadRequest):
            for violation in bad.field_violations:
                print(f"  {violation.field}: {violation.description}")
        info = detail(error, ErrorInfo)  # None if gantryd did not answer
        outcome = f"error {error.code().name}{' ' + info.reason if info else ''}: {error.details()}"
    print(outcome)
    return 0 if outcome.startswith(("succeeded", "unchanged")) else 1


if __name__ == "__main__":
    sys.exit(main())
